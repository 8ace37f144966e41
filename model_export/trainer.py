"""Trainer: a network in training with its average, optimizer, recipe and progress, and what advances them."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from model_export.batches import Batch, Batches, normalised
from model_export.checkpoint import Progress, TrainingRun, restore, write_checkpoint
from model_export.class_losses import CLASS_LOSSES, weigh_classes
from model_export.class_networks import build_for_recipe
from model_export.datasets import Dataset
from model_export.encoder_weights import load_published_encoder
from model_export.errors import CommandFailed
from model_export.finetune import freeze_norms, published_network
from model_export.held_out import autocast, judge, mae_of_empty_masks
from model_export.initial_weights import load_weights_file
from model_export.losses import LOSSES, distilled
from model_export.optimizer import build_optimizer
from model_export.precision import fastest_precision
from model_export.progress_display import with_progress
from model_export.recipe import Recipe
from model_export.schedule import Position, learning_rate, share_of_time, size_in

LAST, BEST = "last.safetensors", "best.safetensors"
INITIALISE = {
    "xavier": nn.init.xavier_uniform_,
    # He et al. 2015, arXiv:1502.01852: VGG without normalisation learns only if initialised like this.
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
}


class TrainingFailed(CommandFailed):
    """A training run cannot start, or its loss is no longer finite."""


@dataclass(slots=True)
class Trainer:
    """A training run in memory.

    ``compiled`` is the network as torch compiled it, or the network itself; it shares the network's weights.
    ``average`` is the moving average of the weights, if the recipe keeps one.
    """

    run: TrainingRun
    network: nn.Module
    compiled: nn.Module
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    device: torch.device
    console: Console
    clock: Callable[[], float] = time.monotonic
    _began_s: float = field(init=False)
    _spent_before_s: float = field(init=False)
    _loss: float = field(init=False, default=math.nan)
    _rate: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Start the clock of this session."""
        self._began_s, self._spent_before_s = self.clock(), self.progress.seconds

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.run.recipe

    @property
    def progress(self) -> Progress:
        """The progress of the run."""
        return self.run.progress

    @property
    def judged(self) -> nn.Module:
        """The network to judge and to serve: the moving average if the recipe keeps one."""
        return self.network if self.average is None else self.average

    @property
    def judged_by(self) -> str:
        """The figure that decides which epoch is the best."""
        return "mean IoU" if self.recipe.classes else "MAE"

    @property
    def session_s(self) -> float:
        """The seconds since the run was started or resumed."""
        return self.clock() - self._began_s

    @property
    def seconds(self) -> float:
        """The seconds of the whole run, without pauses."""
        return self._spent_before_s + self.session_s

    def is_over(self, *, pause_after_minutes: float = math.inf) -> bool:
        """Return whether the run, or this session of it, has ended; the reason is printed."""
        recipe, progress = self.recipe, self.progress
        if progress.epoch >= recipe.epochs:
            return True
        if progress.epoch and recipe.minutes and self.seconds >= 60 * recipe.minutes:
            self.console.print(f"the {recipe.minutes:g} minutes of the run are over")
            return True
        if recipe.patience and progress.epoch - progress.best_epoch >= recipe.patience:
            self.console.print(f"no better {self.judged_by} for {recipe.patience} epochs")
            return True
        if progress.epoch and self.session_s > 60 * pause_after_minutes:
            self.console.print("paused; --resume continues")
            return True
        return False

    def train_epoch(self, batches: Batches) -> None:
        """Train on all pictures once, or until the recipe's minutes are over, and judge nothing.

        Raises:
            TrainingFailed: The loss is no longer finite.
        """
        progress, recipe, losses, rate = self.progress, self.recipe, [], 0.0
        epoch = batches.of_epoch(progress.epoch, progress.iteration, self._share_of_time)
        title = f"epoch {progress.epoch + 1}/{recipe.epochs}"
        for batch in with_progress(self.console, epoch, total=batches.per_epoch, title=title):
            position = Position(progress.iteration, batches.iterations, self._share_of_time())
            rate = learning_rate(recipe, position)
            losses.append(self._train_iteration(batch, rate))
            if not math.isfinite(losses[-1]):
                raise TrainingFailed(
                    f"The loss is {losses[-1]} in iteration {progress.iteration}; lower the rate: "
                    f"--set learning_rate={recipe.learning_rate / 10:g}"
                )
            if self.average is not None:
                update_ema(self.average, self.network, recipe.ema, progress.iteration)
            progress.iteration += 1
            if self._share_of_time() >= 1:
                break
        progress.epoch += 1
        self._loss, self._rate = float(np.mean(losses)), rate

    def judge(self, held_out: Dataset) -> bool:
        """Judge the network on held-out pictures, add a row to the curves, and return whether it is the best.

        The first row, epoch 0, is the network that the run begins with.
        """
        progress = self.progress
        figures = judge(self.judged, held_out, self.recipe, self.device)
        progress.empty_mae = mae_of_empty_masks(held_out)
        progress.seconds = self.seconds
        is_best = progress.is_better(figures)
        row = {"epoch": progress.epoch, "seconds": round(progress.seconds, 1), "mae": figures["mae"]}
        if progress.epoch:
            row |= {"rate": self._rate, "loss": self._loss}
        progress.curves.append(row | figures)
        if is_best:
            progress.best_mae, progress.best_epoch = figures["mae"], progress.epoch
        line = f"epoch {progress.epoch}/{self.recipe.epochs}: "
        line += f"loss {self._loss:.4f}, " if progress.epoch else "before training, "
        line += f"mean IoU {figures['mean_iou']:.4f}, " if self.recipe.classes else ""
        line += f"MAE {figures['mae']:.4f}, maxF {figures['max_f']:.4f}"
        self.console.print(f"{line} (best)" if is_best else line)
        return is_best

    def save(self, folder: Path, *, is_best: bool) -> None:
        """Write the checkpoint to resume from, and the one to serve if it is the best."""
        if is_best:
            write_checkpoint(folder / BEST, self.run, self.judged)
        write_checkpoint(folder / LAST, self.run, self.network, self.average, self.optimizer)

    def _share_of_time(self) -> float:
        return share_of_time(self.recipe, self.seconds) if self.recipe.minutes else 0.0

    def _train_iteration(self, batch: Batch, rate: float) -> float:
        """Train on one batch, and return its loss."""
        recipe = self.recipe
        self.compiled.train()
        if recipe.norms == "freeze":
            freeze_norms(self.compiled)
        torch.manual_seed(recipe.seed * 1_000_003 + self.progress.iteration)  # for dropout
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        with autocast(recipe, batch.normalised.device):
            outputs = self.compiled(batch.normalised)
        value = loss_of(recipe, [each.float() for each in outputs], batch)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        if recipe.largest_gradient:
            nn.utils.clip_grad_norm_(self.compiled.parameters(), recipe.largest_gradient)
        self.optimizer.step()
        return float(value.detach())


def set_up_trainer(
    run: TrainingRun, learned: Dataset, device: torch.device, console: Console, *, resume_from: Path | None
) -> Trainer:
    """Build network, moving average and optimizer, and restore them from a checkpoint if there is one.

    If the recipe leaves the precision to the machine, or the weights of classes to their frequencies, the
    chosen values are written to ``run.recipe``.

    Raises:
        ClassMissing: The recipe weighs classes by their frequency, and a class occurs nowhere.
        CheckpointInvalid: The checkpoint belongs to another network.
    """
    recipe = run.recipe = with_class_weights(run.recipe, learned)
    torch.manual_seed(recipe.seed)
    network = _network(recipe, learned)
    if recipe.weights_file is not None and resume_from is None:
        console.print(f"{recipe.weights_file}: {load_weights_file(network, recipe.weights_file)}")
    network = network.to(device, memory_format=torch.channels_last)
    if recipe.precision == "fastest":
        fastest = fastest_precision(network, size_in(recipe, 0), device)
        recipe = run.recipe = recipe.model_copy(update={"precision": fastest})
        console.print(f"{fastest} is the faster precision here")
    average = copy.deepcopy(network).eval() if recipe.ema else None
    optimizer = build_optimizer(network, recipe)
    if resume_from is not None:
        restore(resume_from, network, average, optimizer)
        console.print(f"resumed after epoch {run.progress.epoch}")
    compiled = torch.compile(network) if recipe.compile and device.type == "cuda" else network
    return Trainer(run, network, compiled, average, optimizer, device, console)


def with_class_weights(recipe: Recipe, learned: Dataset) -> Recipe:
    """Return the recipe with a weight for each class, computed from the label maps if it has none yet."""
    if learned.labels is None or isinstance(recipe.class_weights, tuple):
        return recipe
    weights = weigh_classes(recipe.class_weights, learned.labels, recipe.classes)
    return recipe.model_copy(update={"class_weights": weights})


def loss_of(recipe: Recipe, logits: list[Tensor], batch: Batch) -> Tensor:
    """Return the recipe's loss of a batch, a scalar."""
    if isinstance(recipe.class_weights, tuple):  # by with_class_weights, for recipes with classes
        return CLASS_LOSSES[recipe.loss](logits, batch.truth, recipe.class_weights)
    loss = LOSSES[recipe.loss]
    if batch.teacher is None:
        return loss(logits, batch.truth)
    return distilled(loss, trust=recipe.teacher_trust)(logits, batch.truth, batch.teacher)


def update_ema(average: nn.Module, network: nn.Module, decay: float, iteration: int) -> None:
    """Move the average towards the network, faster at first so that the initial weights lose influence."""
    pace = 1 - min(decay, (1 + iteration) / (10 + iteration))
    with torch.no_grad():
        for averaged, latest in zip(
            average.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if averaged.dtype.is_floating_point:
                averaged.lerp_(latest, pace)
            else:
                averaged.copy_(latest)


def _network(recipe: Recipe, learned: Dataset) -> nn.Module:
    if recipe.weights == "published":
        sample = normalised(torch.from_numpy(learned.pictures[:64]).permute(0, 3, 1, 2).float() / 255)
        return published_network(recipe.architecture, recipe.norms, sample)
    network = build_for_recipe(recipe)
    if recipe.initialise != "default":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                INITIALISE[recipe.initialise](layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    if recipe.weights == "encoder":
        load_published_encoder(network)
    return network

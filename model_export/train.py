"""Train: a recipe and a folder become weights, in the order config, data, model, loop.

    python -m model_export train stdc1 --data DIR --out runs/stdc1 [--recipe paper] [--resume]

Every random choice is drawn from the recipe's seed and the number of the step or of the epoch, and from
nothing else. So a run that is killed and resumed ends, on a CPU with as many threads, with the very weights
of the unbroken one: it goes on from the last whole epoch.

Longer than other modules, because the whole course of a training is to be read in one place.
"""

import copy
import csv
import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn, track
from rich.progress import Progress as Bar
from torch import Tensor, nn

from model_export.architectures import ARCHITECTURES
from model_export.checkpoint import Progress, Run, read_run, restore, write_checkpoint
from model_export.curves import plot_curves
from model_export.datasets import Dataset, decode_dataset, read_split, split, write_split
from model_export.errors import CommandFailed
from model_export.finetune import hold_norms, published_network
from model_export.losses import LOSSES, distilled
from model_export.malloc import keep_freed_memory
from model_export.metrics import max_f_of_means, mean_absolute_error, precision_and_recall
from model_export.precision import fastest_precision
from model_export.recipe import Recipe
from model_export.serving_graph import IMAGENET_MEAN, IMAGENET_STD, normalise
from model_export.transforms import augment

LAST, BEST, CURVES = "last.safetensors", "best.safetensors", "curves.csv"
LEARNED_SPLIT, HELD_OUT_SPLIT = "learned.txt", "held_out.txt"
HEADS = ("head", "heads", "fuse", "training_heads", "score", "score_pool3", "score_pool4", "sides")
WARM_UP_FROM = 1e-3
POLY_POWER = 0.9
INITIALISE = {
    "xavier": nn.init.xavier_uniform_,
    # He et al. 2015, arXiv:1502.01852: what lets VGG begin to learn without normalisation.
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
}


class TrainingFailed(CommandFailed):
    """A run cannot begin, or has gone wrong."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a run is asked to do beside its recipe."""

    data: Path
    out: Path
    resume: bool = False
    device: str = "auto"
    threads: int = 0
    learned: Path | None = None
    held_out: Path | None = None
    minutes: float = math.inf
    """When to end early, after the epoch in which they have passed."""


def train(recipe: Recipe, orders: TrainOptions, *, console: Console | None = None) -> Progress:
    """Train a network, and leave checkpoints, curves and splits in ``orders.out``.

    Returns:
        How far the run came.

    Raises:
        SamplesInvalid: The data are not pictures with their masks.
        TrainingFailed: The folder holds another run already, or the loss is not a number any more.
        CheckpointInvalid: What is to be resumed is no run of this recipe's network.
    """
    console = console or Console(stderr=True)
    # Config.
    device = _settled(orders)
    last = orders.out / LAST
    if last.exists() and not orders.resume:
        raise TrainingFailed(f"{orders.out} holds a run already; resume it, or name another folder.")
    orders.out.mkdir(parents=True, exist_ok=True)

    # Data.
    whole = decode_dataset(
        orders.data,
        recipe.size_px,
        track=lambda entries: track(entries, "decoding", console=console),
    )
    run = read_run(last) if last.exists() else _begun(recipe, orders, whole)
    if recipe.precision == "fastest":
        recipe = recipe.model_copy(update={"precision": run.recipe.precision})
    if run.recipe != recipe:
        raise TrainingFailed(f"{last} was trained by another recipe.")
    learned, held_out = whole.part(run.learned), whole.part(run.held_out)
    del whole

    # Model.
    torch.manual_seed(recipe.seed)
    network = _network(recipe, learned).to(device, memory_format=torch.channels_last)
    if recipe.precision == "fastest":
        fastest = fastest_precision(network, size_in(recipe, 0), device)
        recipe = run.recipe = recipe.model_copy(update={"precision": fastest})
        console.print(f"{fastest} is the faster precision here")
    average = copy.deepcopy(network).eval() if recipe.ema else None
    optimizer = _optimizer(network, recipe)
    if last.exists():
        restore(last, network, average, optimizer)
        console.print(f"resumed after epoch {run.progress.epoch}")
    fast = torch.compile(network) if recipe.compile and device.type == "cuda" else network

    # Loop.
    judged = average if average is not None else network
    steps, began_s, spent_s = Steps(recipe, learned, device), time.monotonic(), run.progress.seconds
    while not _is_over(run.progress, recipe, orders, console, spent_s=spent_s):
        loss, rate = _learn(fast, network, average, optimizer, steps, recipe, run.progress, console)
        mae, max_f = judge(judged, held_out, recipe, device)
        seconds = spent_s + time.monotonic() - began_s
        is_best = _note(run.progress, seconds=seconds, rate=rate, loss=loss, mae=mae, max_f=max_f)
        if is_best:
            write_checkpoint(orders.out / BEST, run, judged)
        write_checkpoint(last, run, network, average, optimizer)
        _write_curves(orders.out, run.progress.curves)
        told = f"epoch {run.progress.epoch}/{recipe.epochs}: loss {loss:.4f}, MAE {mae:.4f}, maxF {max_f:.4f}"
        console.print(f"{told} (best)" if is_best else told)
    return run.progress


def _settled(orders: TrainOptions) -> torch.device:
    """Settle what holds for the whole process: device, threads, determinism and what becomes of memory."""
    device = device_of(orders.device)
    if orders.threads:
        torch.set_num_threads(orders.threads)
    torch.use_deterministic_algorithms(mode=device.type == "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _learn(
    fast: nn.Module,
    network: nn.Module,
    average: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    steps: "Steps",
    recipe: Recipe,
    progress: Progress,
    console: Console,
) -> tuple[float, float]:
    """Go once through the pictures, and return the mean loss and the last rate."""
    losses, rate = [], 0.0
    for batch in _shown(console, steps, progress):
        rate = learning_rate(recipe, progress.step, steps.per_epoch * recipe.epochs)
        losses.append(_step(fast, optimizer, batch, recipe, rate, progress.step))
        if not math.isfinite(losses[-1]):
            raise TrainingFailed(f"The loss is {losses[-1]} in step {progress.step}; lower the rate.")
        if average is not None:
            _follow(average, network, recipe.ema, progress.step)
        progress.step += 1
    return float(np.mean(losses)), rate


def _is_over(
    progress: Progress, recipe: Recipe, orders: TrainOptions, console: Console, *, spent_s: float
) -> bool:
    if progress.epoch >= recipe.epochs:
        return True
    if recipe.patience and progress.epoch - progress.best_epoch >= recipe.patience:
        console.print(f"no better MAE for {recipe.patience} epochs")
        return True
    if progress.seconds - spent_s > 60 * orders.minutes:
        console.print("the time is over")
        return True
    return False


def _note(progress: Progress, *, seconds: float, mae: float, **figures: float) -> bool:
    """Add an epoch to the curves, and tell whether it is the best."""
    progress.epoch += 1
    progress.seconds = seconds
    is_best = mae < progress.best_mae
    if is_best:
        progress.best_mae, progress.best_epoch = mae, progress.epoch
    progress.curves.append({"epoch": progress.epoch, "seconds": round(seconds, 1), "mae": mae, **figures})
    return is_best


@dataclass(frozen=True, slots=True)
class Batch:
    """Normalised pictures (N, 3, S, S), masks and teacher maps (N, 1, S, S) of 0 to 1."""

    normalised: Tensor
    truth: Tensor
    teacher: Tensor | None


class Steps:
    """The batches of an epoch, changed and normalised; which ones they are depends on seed and step alone."""

    def __init__(self, recipe: Recipe, learned: Dataset, device: torch.device) -> None:
        self._recipe, self._device, self._count = recipe, device, len(learned)
        # On a GPU the whole set lies there, so that nothing waits for the bus.
        self._pictures = torch.from_numpy(learned.pictures).to(device)
        self._masks = torch.from_numpy(learned.masks).to(device)
        self._teacher = None if learned.teacher is None else torch.from_numpy(learned.teacher).to(device)
        self.per_epoch = max(1, self._count // recipe.batch)

    def of(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of one epoch; the rest that fills no batch waits for another one."""
        order = torch.randperm(self._count, generator=_generator(self._recipe.seed, epoch))
        size_px = size_in(self._recipe, epoch)
        for number in range(self.per_epoch):
            chosen = order[number * self._recipe.batch : (number + 1) * self._recipe.batch]
            yield self._batch(chosen.to(self._device), size_px, first_step + number)

    def _batch(self, chosen: Tensor, size_px: int, step: int) -> Batch:
        recipe = self._recipe
        pictures = self._pictures[chosen].permute(0, 3, 1, 2).float() / 255
        masks = [self._masks[chosen].unsqueeze(1).float() / 255]
        if self._teacher is not None and recipe.teacher_trust:
            masks.append(self._teacher[chosen].unsqueeze(1).float() / 255)
        how, generator = recipe.augmentation.augmentation(), _generator(recipe.seed, step, kind=1)
        pictures, masks = augment(pictures, masks, how, generator, size=(size_px, size_px))
        truth, *teacher = masks
        return Batch(normalised(pictures), truth, teacher[0] if teacher else None)


def size_in(recipe: Recipe, epoch: int) -> int:
    """Return the side of pictures in an epoch: the sizes each have an equal part of the epochs."""
    sizes = (*recipe.sizes_px, recipe.size_px)
    return sizes[min(epoch * len(sizes) // recipe.epochs, len(sizes) - 1)]


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of a step, counted from 0, of so many."""
    if step < recipe.warm_up_steps:
        return float(recipe.learning_rate * WARM_UP_FROM ** (1 - step / recipe.warm_up_steps))
    part = (step - recipe.warm_up_steps) / max(1, steps - recipe.warm_up_steps)
    if recipe.schedule == "poly":
        return float(recipe.learning_rate * (1 - part) ** POLY_POWER)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * part))
    return recipe.learning_rate


def judge(network: nn.Module, held_out: Dataset, recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Return MAE and maxF (the papers' protocol) over held-out pictures, at the network's size."""
    was_training = network.training
    network.eval()
    errors, curves = [], []
    for start in range(0, len(held_out), recipe.batch):
        part = slice(start, start + recipe.batch)
        pictures = torch.from_numpy(held_out.pictures[part]).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode(), _precision(recipe, device):
            logits = network(normalised(pictures))[0]
        maps = torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()
        for saliency, mask in zip(maps, held_out.masks[part] > 0, strict=True):
            errors.append(mean_absolute_error(saliency, mask))
            curves.append(precision_and_recall(saliency, mask))
    network.train(was_training)
    return float(np.mean(errors)), max_f_of_means(curves)


def _begun(recipe: Recipe, orders: TrainOptions, whole: Dataset) -> Run:
    if orders.held_out is None:
        learned, held_out = split(whole.names, recipe.held_out, seed=recipe.seed)
    else:
        held_out = read_split(orders.held_out)
        learned = tuple(name for name in whole.names if name not in set(held_out))
    if orders.learned is not None:
        learned = read_split(orders.learned)
        if set(learned) & set(held_out):
            raise TrainingFailed("Some pictures are both learned from and held out.")
    write_split(orders.out / LEARNED_SPLIT, learned)
    write_split(orders.out / HELD_OUT_SPLIT, held_out)
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return Run(recipe, orders.data.resolve().name, learned, held_out, Progress(), versions)


def _network(recipe: Recipe, learned: Dataset) -> nn.Module:
    if recipe.architecture not in ARCHITECTURES:
        raise TrainingFailed(f"There is no architecture {recipe.architecture}.")
    if recipe.teacher_trust and learned.teacher is None:
        raise TrainingFailed("The recipe trusts a teacher, but the data hold no teacher.zip.")
    if recipe.weights == "published":
        sample = normalised(torch.from_numpy(learned.pictures[:64]).permute(0, 3, 1, 2).float() / 255)
        return published_network(recipe.architecture, recipe.norms, sample)
    network = ARCHITECTURES[recipe.architecture]()
    if recipe.initialise != "default":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                INITIALISE[recipe.initialise](layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return network


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Group parameters by whether they decay, and whether they are of a head."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = parameter.ndim > 1, name.split(".")[0] in HEADS
            groups.setdefault(key, []).append(parameter)
    described = [
        {
            "params": parameters,
            "weight_decay": recipe.weight_decay if decays else 0.0,
            "times": recipe.head_rate if is_head else 1.0,
        }
        for (decays, is_head), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(described, lr=recipe.learning_rate, momentum=recipe.momentum)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(described, lr=recipe.learning_rate)


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    rate: float,
    step: int,
) -> float:
    """Learn from one batch, and return its loss."""
    network.train()
    if recipe.norms == "freeze":
        hold_norms(network)
    torch.manual_seed(recipe.seed * 1_000_003 + step)  # of dropout
    for group in optimizer.param_groups:
        group["lr"] = rate * group["times"]
    with _precision(recipe, batch.normalised.device):
        outputs = network(batch.normalised)
    logits = [each.float() for each in outputs]
    loss = LOSSES[recipe.loss]
    if batch.teacher is None:
        value = loss(logits, batch.truth)
    else:
        value = distilled(loss, trust=recipe.teacher_trust)(logits, batch.truth, batch.teacher)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    if recipe.largest_gradient:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.largest_gradient)
    optimizer.step()
    return float(value.detach())


def _follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Let the moving average follow; faster in the beginning, so that it forgets where it started."""
    pace = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, latest in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(latest, pace)
            else:
                kept.copy_(latest)


def normalised(pictures: Tensor) -> Tensor:
    """Normalise (N, 3, S, S) of 0 to 1 as the served graph does."""
    mean, std = (torch.tensor(triple).to(pictures) for triple in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = normalise(255 * pictures.permute(0, 2, 3, 1), mean, std)
    return normalised.permute(0, 3, 1, 2)  # channels last in memory, as the network wants it


def _precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def _generator(seed: int, number: int, *, kind: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 2 + kind) * 1_000_003 + number)


def device_of(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU where there is one.

    Raises:
        TrainingFailed: CUDA is asked for and not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingFailed("There is no CUDA device, or this torch is a build without CUDA.")
    return torch.device(name)


def _shown(console: Console, steps: Steps, progress: Progress) -> Iterator[Batch]:
    """Yield the batches of an epoch behind a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        batches = steps.of(progress.epoch, progress.step)
        yield from bar.track(batches, total=steps.per_epoch, description=f"epoch {progress.epoch + 1}")


def _write_curves(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot_curves(rows, folder / "curves.png")

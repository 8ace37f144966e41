"""Train: a recipe and a folder of pictures become trained weights: config, data, model, loop.

    python -m model_export train stdc1 --data DIR --out runs/stdc1 [--recipe paper] [--resume]

Every random choice depends only on the recipe's seed and the number of the iteration or epoch. A training
run that is killed and resumed continues after the last complete epoch and ends, on a CPU with as many
threads, with exactly the weights of an uninterrupted run.

This module is longer than the others so that the whole course of a training run can be read in one place.
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
from model_export.checkpoint import Progress, TrainingRun, read_training_run, restore, write_checkpoint
from model_export.curves import plot_curves
from model_export.datasets import Dataset, decode_dataset, read_split, split, write_split
from model_export.encoder_weights import load_published_encoder
from model_export.errors import CommandFailed
from model_export.finetune import freeze_norms, published_network
from model_export.losses import LOSSES, distilled
from model_export.malloc import keep_freed_memory
from model_export.metrics import max_f_of_means, mean_absolute_error, precision_and_recall
from model_export.precision import fastest_precision
from model_export.recipe import Recipe
from model_export.serving_graph import IMAGENET_MEAN, IMAGENET_STD, normalise
from model_export.transforms import augment

LAST, BEST, CURVES = "last.safetensors", "best.safetensors", "curves.csv"
LEARNED_SPLIT, HELD_OUT_SPLIT = "learned.txt", "held_out.txt"
HEADS = ("decoder", "head", "heads", "fuse", "training_heads", "score", "score_pool3", "score_pool4", "sides")
WARM_UP_FROM = 1e-3
POLY_POWER = 0.9
INITIALISE = {
    "xavier": nn.init.xavier_uniform_,
    # He et al. 2015, arXiv:1502.01852: VGG without normalisation learns only if initialised like this.
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
}


class TrainingFailed(CommandFailed):
    """A training run cannot start, or its loss is no longer finite."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of a training run that are not part of its recipe."""

    data: Path
    out: Path
    resume: bool = False
    device: str = "auto"
    threads: int = 0
    learned: Path | None = None
    held_out: Path | None = None
    minutes: float = math.inf
    """The run stops after the first epoch that ends later than this."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A network in training, and the state that its iterations update."""

    network: nn.Module
    compiled: nn.Module
    """The network as torch compiled it, or the network itself. It shares the network's weights."""
    average: nn.Module | None
    optimizer: torch.optim.Optimizer

    @property
    def judged(self) -> nn.Module:
        """The network to judge and to serve: the moving average if the recipe keeps one."""
        return self.network if self.average is None else self.average


def train(recipe: Recipe, options: TrainOptions, *, console: Console | None = None) -> Progress:
    """Train a network and write checkpoints, curves and splits to ``options.out``.

    Returns:
        The progress of the run at its end.

    Raises:
        SamplesInvalid: The data are not pictures with their masks.
        TrainingFailed: The folder already holds another run, or the loss is no longer finite.
        CheckpointInvalid: The checkpoint to resume does not belong to this recipe's network.
    """
    console = console or Console(stderr=True)
    # Config.
    device = set_up_device(options)
    last = options.out / LAST
    if last.exists() and not options.resume:
        raise TrainingFailed(f"{options.out} holds a run already; resume it, or name another folder.")
    options.out.mkdir(parents=True, exist_ok=True)

    # Data.
    dataset = decode_dataset(
        options.data, recipe.size_px, track=lambda entries: track(entries, "decoding", console=console)
    )
    run = _load_or_start_run(recipe, options, dataset)
    learned, held_out = dataset.subset(run.learned), dataset.subset(run.held_out)
    del dataset

    # Model.
    model = _set_up_model(run, learned, device, last, console)
    recipe = run.recipe

    # Loop.
    batches, began_s, spent_s = Batches(recipe, learned, device), time.monotonic(), run.progress.seconds
    while not _is_over(run.progress, recipe, options, console, spent_s=spent_s):
        loss, rate = _train_epoch(model, batches, recipe, run.progress, console)
        mae, max_f = judge(model.judged, held_out, recipe, device)
        seconds = spent_s + time.monotonic() - began_s
        is_best = record_epoch(run.progress, seconds=seconds, rate=rate, loss=loss, mae=mae, max_f=max_f)
        if is_best:
            write_checkpoint(options.out / BEST, run, model.judged)
        write_checkpoint(last, run, model.network, model.average, model.optimizer)
        _write_curves(options.out, run.progress.curves)
        line = f"epoch {run.progress.epoch}/{recipe.epochs}: loss {loss:.4f}, MAE {mae:.4f}, maxF {max_f:.4f}"
        console.print(f"{line} (best)" if is_best else line)
    return run.progress


def set_up_device(options: TrainOptions) -> torch.device:
    """Choose the device, and set threads, determinism and memory allocation for the whole process."""
    device = device_of(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=device.type == "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _load_or_start_run(recipe: Recipe, options: TrainOptions, dataset: Dataset) -> TrainingRun:
    """Read the run to resume, or start a new one.

    Raises:
        TrainingFailed: The run to resume has another recipe.
    """
    last = options.out / LAST
    run = read_training_run(last) if last.exists() else start_run(recipe, options, dataset)
    if recipe.precision == "fastest":  # a resumed run keeps the precision it chose
        recipe = recipe.model_copy(update={"precision": run.recipe.precision})
    if run.recipe != recipe:
        raise TrainingFailed(f"{last} was trained by another recipe.")
    return run


def _set_up_model(
    run: TrainingRun, learned: Dataset, device: torch.device, last: Path, console: Console
) -> TrainedModel:
    """Build network, moving average and optimizer, and restore them from ``last`` if it exists.

    If the recipe leaves the precision to the machine, the chosen one is written to ``run.recipe``.
    """
    recipe = run.recipe
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
    compiled = torch.compile(network) if recipe.compile and device.type == "cuda" else network
    return TrainedModel(network, compiled, average, optimizer)


def _train_epoch(
    model: TrainedModel, batches: "Batches", recipe: Recipe, progress: Progress, console: Console
) -> tuple[float, float]:
    """Train on all pictures once, and return the mean loss and the last learning rate."""
    losses, rate = [], 0.0
    for batch in with_progress(console, batches, progress):
        rate = learning_rate(recipe, progress.iteration, batches.per_epoch * recipe.epochs)
        losses.append(_train_iteration(model, batch, recipe, rate, progress.iteration))
        if not math.isfinite(losses[-1]):
            raise TrainingFailed(
                f"The loss is {losses[-1]} in iteration {progress.iteration}; lower the rate."
            )
        if model.average is not None:
            update_ema(model.average, model.network, recipe.ema, progress.iteration)
        progress.iteration += 1
    return float(np.mean(losses)), rate


def _is_over(
    progress: Progress, recipe: Recipe, options: TrainOptions, console: Console, *, spent_s: float
) -> bool:
    if progress.epoch >= recipe.epochs:
        return True
    if recipe.patience and progress.epoch - progress.best_epoch >= recipe.patience:
        console.print(f"no better MAE for {recipe.patience} epochs")
        return True
    if progress.seconds - spent_s > 60 * options.minutes:
        console.print("time limit reached")
        return True
    return False


def record_epoch(progress: Progress, *, seconds: float, mae: float, **figures: float) -> bool:
    """Add an epoch to the curves, and return whether it is the best so far."""
    progress.epoch += 1
    progress.seconds = seconds
    is_best = mae < progress.best_mae
    if is_best:
        progress.best_mae, progress.best_epoch = mae, progress.epoch
    progress.curves.append({"epoch": progress.epoch, "seconds": round(seconds, 1), "mae": mae, **figures})
    return is_best


@dataclass(frozen=True, slots=True)
class Batch:
    """Normalised pictures (N, 3, S, S), and masks and teacher maps (N, 1, S, S) in [0, 1]."""

    normalised: Tensor
    truth: Tensor
    teacher: Tensor | None


class Batches:
    """The augmented, normalised batches of each epoch; they depend only on the seed and the iteration."""

    def __init__(self, recipe: Recipe, learned: Dataset, device: torch.device) -> None:
        self._recipe, self._device, self._count = recipe, device, len(learned)
        # On a GPU the whole set is kept in its memory, so that no iteration waits for the bus.
        self._pictures = torch.from_numpy(learned.pictures).to(device)
        self._masks = torch.from_numpy(learned.masks).to(device)
        self._teacher = None if learned.teacher is None else torch.from_numpy(learned.teacher).to(device)
        self.per_epoch = max(1, self._count // recipe.batch)

    def of_epoch(self, epoch: int, first_iteration: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, leaving out the pictures that do not fill the last batch."""
        order = torch.randperm(self._count, generator=_generator(self._recipe.seed, epoch))
        size_px = size_in(self._recipe, epoch)
        for number in range(self.per_epoch):
            chosen = order[number * self._recipe.batch : (number + 1) * self._recipe.batch]
            yield self._batch(chosen.to(self._device), size_px, first_iteration + number)

    def _batch(self, chosen: Tensor, size_px: int, iteration: int) -> Batch:
        recipe = self._recipe
        pictures = self._pictures[chosen].permute(0, 3, 1, 2).float() / 255
        masks = [self._masks[chosen].unsqueeze(1).float() / 255]
        if self._teacher is not None and recipe.teacher_trust:
            masks.append(self._teacher[chosen].unsqueeze(1).float() / 255)
        augmentation = recipe.augmentation.augmentation()
        generator = _generator(recipe.seed, iteration, kind=1)
        pictures, masks = augment(pictures, masks, augmentation, generator, size=(size_px, size_px))
        truth, *teacher = masks
        return Batch(normalised(pictures), truth, teacher[0] if teacher else None)


def size_in(recipe: Recipe, epoch: int) -> int:
    """Return the side of the pictures in an epoch; each size is used for an equal share of the epochs."""
    sizes = (*recipe.sizes_px, recipe.size_px)
    return sizes[min(epoch * len(sizes) // recipe.epochs, len(sizes) - 1)]


def learning_rate(recipe: Recipe, iteration: int, iterations: int) -> float:
    """Return the learning rate of one iteration, counted from 0, out of ``iterations``."""
    warm_up = recipe.warm_up_steps
    if iteration < warm_up:
        return float(recipe.learning_rate * WARM_UP_FROM ** (1 - iteration / warm_up))
    share = (iteration - warm_up) / max(1, iterations - warm_up)
    if recipe.schedule == "poly":
        return float(recipe.learning_rate * (1 - share) ** POLY_POWER)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.learning_rate


def judge(network: nn.Module, held_out: Dataset, recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Return MAE and maxF (by the papers' protocol) over held-out pictures, at the network's size."""
    was_training = network.training
    network.eval()
    errors, curves = [], []
    for start in range(0, len(held_out), recipe.batch):
        batch = slice(start, start + recipe.batch)
        pictures = torch.from_numpy(held_out.pictures[batch]).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode(), _precision(recipe, device):
            logits = network(normalised(pictures))[0]
        maps = torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()
        for saliency, mask in zip(maps, held_out.masks[batch] > 0, strict=True):
            errors.append(mean_absolute_error(saliency, mask))
            curves.append(precision_and_recall(saliency, mask))
    network.train(was_training)
    return float(np.mean(errors)), max_f_of_means(curves)


def start_run(recipe: Recipe, options: TrainOptions, dataset: Dataset) -> TrainingRun:
    """Split the dataset, write both splits to ``options.out`` and return a run without progress.

    Raises:
        TrainingFailed: A picture is in both splits.
    """
    if options.held_out is None:
        learned, held_out = split(dataset.names, recipe.held_out, seed=recipe.seed)
    else:
        held_out = read_split(options.held_out)
        learned = tuple(name for name in dataset.names if name not in set(held_out))
    if options.learned is not None:
        learned = read_split(options.learned)
        if set(learned) & set(held_out):
            raise TrainingFailed("Some pictures are both learned from and held out.")
    write_split(options.out / LEARNED_SPLIT, learned)
    write_split(options.out / HELD_OUT_SPLIT, held_out)
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return TrainingRun(recipe, options.data.resolve().name, learned, held_out, Progress(), versions)


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
    if recipe.weights == "encoder":
        load_published_encoder(network)
    return network


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimizer; parameters are grouped by weight decay and by whether they belong to a head."""
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


def _train_iteration(model: TrainedModel, batch: Batch, recipe: Recipe, rate: float, iteration: int) -> float:
    """Train on one batch, and return its loss."""
    network, optimizer = model.compiled, model.optimizer
    network.train()
    if recipe.norms == "freeze":
        freeze_norms(network)
    torch.manual_seed(recipe.seed * 1_000_003 + iteration)  # for dropout
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


def normalised(pictures: Tensor) -> Tensor:
    """Normalise (N, 3, S, S) in [0, 1] as the served graph does."""
    mean, std = (torch.tensor(triple).to(pictures) for triple in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = normalise(255 * pictures.permute(0, 2, 3, 1), mean, std)
    return normalised.permute(0, 3, 1, 2)  # channels last in memory, as in the network


def _precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def _generator(seed: int, number: int, *, kind: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 2 + kind) * 1_000_003 + number)


def device_of(name: str) -> torch.device:
    """Return the device with this name; ``auto`` is a GPU if there is one.

    Raises:
        TrainingFailed: CUDA is requested and not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingFailed("There is no CUDA device, or this torch is a build without CUDA.")
    return torch.device(name)


def with_progress(console: Console, batches: Batches, progress: Progress) -> Iterator[Batch]:
    """Yield the batches of an epoch while showing a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        epoch = batches.of_epoch(progress.epoch, progress.iteration)
        yield from bar.track(epoch, total=batches.per_epoch, description=f"epoch {progress.epoch + 1}")


def _write_curves(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot_curves(rows, folder / "curves.png")

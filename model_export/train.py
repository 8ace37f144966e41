"""Train: a recipe and a folder of pictures become trained weights: config, data, model, loop.

    python -m model_export train stdc1 --data DIR

A training run that is killed and resumed continues after the last complete epoch and ends, on a CPU with as
many threads, with exactly the weights of an uninterrupted run, unless minutes are part of its schedule.
"""

import csv
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from model_export.batches import Batches
from model_export.checkpoint import Progress, TrainingRun, read_training_run
from model_export.curves import plot_curves
from model_export.datasets import Dataset, SourceSet, find_sources
from model_export.labelled import decode_for_recipe
from model_export.malloc import keep_freed_memory
from model_export.preflight import check_recipe, check_sources
from model_export.progress_display import with_progress
from model_export.recipe import Recipe
from model_export.splits import read_split, split, write_split
from model_export.tensorboard_events import open_writer, write_row
from model_export.trainer import LAST, TrainingFailed, set_up_trainer

CURVES = "curves.csv"
LEARNED_SPLIT, HELD_OUT_SPLIT = "learned.txt", "held_out.txt"
EXTENDABLE = frozenset({"epochs", "minutes", "patience"})
"""Fields of a recipe that may change when a run is resumed."""


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
    pause_after_minutes: float = math.inf
    """The run pauses after the first epoch that ends later than this; the schedule does not change."""


def train(recipe: Recipe, options: TrainOptions, *, console: Console | None = None) -> Progress:
    """Train a network and write checkpoints, curves and splits to ``options.out``.

    Returns:
        The progress of the run at its end.

    Raises:
        SamplesInvalid: The data are not pictures with their masks.
        MaskInvalid: A file is not a mask, or not a label map of the recipe's classes.
        TrainingFailed: The folder already holds another run, or the loss is no longer finite.
        CheckpointInvalid: The checkpoint to resume does not belong to this recipe's network.
    """
    console = console or Console(stderr=True, soft_wrap=True, highlight=False)
    # Config.
    device = set_up_device(options)
    last = options.out / LAST if (options.out / LAST).exists() else None
    sources = find_sources(options.data)
    run = start_run(recipe, options, sources) if last is None else resume_run(recipe, options, last)
    run.recipe = check_sources(run, sources, console)
    write_splits(options.out, run)

    # Data.
    learned, held_out = (_decode(sources.only(names), run, console) for names in (run.learned, run.held_out))

    # Model.
    trainer = set_up_trainer(run, learned, device, console, resume_from=last)

    # Loop.
    batches = Batches(run.recipe, learned, device)
    writer = open_writer(options.out, first_epoch=run.progress.epoch + bool(run.progress.curves))
    is_new = not run.progress.curves
    while is_new or not trainer.is_over(pause_after_minutes=options.pause_after_minutes):
        if not is_new:
            trainer.train_epoch(batches)
        trainer.save(options.out, is_best=trainer.judge(held_out))
        _write_curves(options.out, run.progress.curves)
        if writer is not None:
            write_row(writer, run.progress.curves[-1])
        is_new = False
    return run.progress


def set_up_device(options: TrainOptions) -> torch.device:
    """Choose the device, and set threads, determinism and memory allocation for the whole process."""
    device = device_of(options.device)
    if options.threads < 0:
        raise TrainingFailed(f"--threads is a number of threads, or 0 for all; not {options.threads}.")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=device.type == "cpu")
    # Else every new tensor is filled with NaN first, in case an operation reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False
    if device.type == "cpu":
        keep_freed_memory()
    return device


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


def start_run(recipe: Recipe, options: TrainOptions, sources: SourceSet) -> TrainingRun:
    """Split the set, and return a run without progress.

    Raises:
        RecipeUnfit: The recipe names what does not exist.
        TrainingFailed: A picture is in both splits.
        SamplesInvalid: The set is too small to be split.
    """
    check_recipe(recipe)
    if options.held_out is None:
        learned, held_out = split(sources.names, recipe.held_out, seed=recipe.seed)
    else:
        held_out = read_split(options.held_out)
        learned = tuple(name for name in sources.names if name not in set(held_out))
    if options.learned is not None:
        learned = read_split(options.learned)
        if options.held_out is None:
            held_out = tuple(name for name in sources.names if name not in set(learned))
        if set(learned) & set(held_out):
            raise TrainingFailed("Some pictures are both learned from and held out; list each in one file.")
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return TrainingRun(recipe, options.data.resolve().name, learned, held_out, Progress(), versions)


def resume_run(recipe: Recipe, options: TrainOptions, last: Path) -> TrainingRun:
    """Read the run to resume; it keeps its recipe, but may get more epochs, minutes or patience.

    Raises:
        TrainingFailed: The folder holds a run that was not to be resumed, or has another recipe.
    """
    if not options.resume:
        raise TrainingFailed(
            f"{options.out} holds a run already. Continue it with --resume, or name another folder: --out DIR"
        )
    run = read_training_run(last)
    kept, wanted = run.recipe.model_dump(), recipe.model_dump()
    # A resumed run keeps the precision and the weights of classes that it chose, and does without the teacher
    # that it began without.
    free = {"precision"} if recipe.precision == "fastest" else set()
    free |= {"class_weights"} if isinstance(recipe.class_weights, str) else set()
    free |= set() if run.recipe.teacher_trust else {"teacher_trust"}
    changed = [name for name in wanted if wanted[name] != kept[name] and name not in EXTENDABLE | free]
    if changed:
        raise TrainingFailed(
            f"{last} was trained by another recipe: its {changed[0]} is {kept[changed[0]]}, not "
            f"{wanted[changed[0]]}. Only {', '.join(sorted(EXTENDABLE))} can change; for other changes, "
            "start a new run with another --out."
        )
    run.recipe = run.recipe.model_copy(update={name: getattr(recipe, name) for name in EXTENDABLE})
    return run


def write_splits(folder: Path, run: TrainingRun) -> None:
    """Write the names of both splits into the folder of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_split(folder / LEARNED_SPLIT, run.learned)
    write_split(folder / HELD_OUT_SPLIT, run.held_out)


def _decode(sources: SourceSet, run: TrainingRun, console: Console) -> Dataset:
    def track(names: Sequence[str]) -> Iterable[str]:
        return with_progress(console, names, total=len(names), title="decoding")

    return decode_for_recipe(sources, run.recipe, track=track)


def _write_curves(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    plot_curves(rows, folder / "curves.png")

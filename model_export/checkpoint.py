"""Checkpoint: a training run after an epoch, in one safetensors file with everything needed to resume it.

The file holds the tensors of the network, its moving average and the optimizer, with a prefix each. Recipe,
splits, progress, curves and versions are JSON in the file's metadata. Nothing is pickled.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model_export.architectures import ARCHITECTURES, OptionInvalid
from model_export.class_networks import build_for_recipe
from model_export.errors import CommandFailed
from model_export.recipe import Recipe, parse_recipe

NETWORK, AVERAGE, OPTIMIZER = "network/", "average/", "optimizer/"


class CheckpointNotWritten(CommandFailed):
    """A checkpoint cannot be stored, for example because the disk is full."""


class CheckpointInvalid(CommandFailed):
    """A file is not a checkpoint of this package, or belongs to another network."""


@dataclass(slots=True)
class Progress:
    """How far a training run has come.

    ``curves`` has one row per epoch, and one of epoch 0 for the network that the run begins with; runs of
    earlier versions lack that row and ``empty_mae``, the MAE of an empty mask on the held-out pictures.
    """

    epoch: int = 0
    iteration: int = 0
    best_mae: float = float("inf")
    best_epoch: int = 0
    seconds: float = 0.0
    curves: list[dict[str, float]] = field(default_factory=list)
    empty_mae: float | None = None

    def is_better(self, figures: Mapping[str, float]) -> bool:
        """Return whether a network is the best so far: by mean IoU, or by MAE if there are no classes."""
        if "mean_iou" in figures:
            return figures["mean_iou"] > max((row["mean_iou"] for row in self.curves), default=-1.0)
        return figures["mae"] < self.best_mae

    def best_row(self) -> dict[str, float]:
        """Return the row of the best epoch."""
        return next(row for row in self.curves if row["epoch"] == self.best_epoch)


@dataclass(slots=True)
class TrainingRun:
    """A training run as the metadata of a checkpoint describes it; its tensors are stored separately."""

    recipe: Recipe
    data: str
    learned: tuple[str, ...]
    held_out: tuple[str, ...]
    progress: Progress
    versions: dict[str, str]


def write_checkpoint(
    path: Path,
    run: TrainingRun,
    network: nn.Module,
    average: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Write a checkpoint; if the process is killed meanwhile, the earlier checkpoint stays intact."""
    tensors = _with_prefix(NETWORK, network.state_dict())
    if average is not None:
        tensors |= _with_prefix(AVERAGE, average.state_dict())
    if optimizer is not None:
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= _with_prefix(f"{OPTIMIZER}{number}/", state)
    metadata = {
        "recipe": run.recipe.model_dump_json(),
        "data": run.data,
        "learned": json.dumps(run.learned),
        "held_out": json.dumps(run.held_out),
        "progress": json.dumps(_progress_fields(run.progress)),
        "versions": json.dumps(run.versions),
    }
    part = path.with_name(f".{path.name}.part")
    try:
        save_file(tensors, part, metadata=metadata)
    except SafetensorError as error:
        part.unlink(missing_ok=True)
        message = f"{path} cannot be written: {error}. Make room, and add --resume."
        raise CheckpointNotWritten(message) from error
    part.replace(path)


def write_half(path: Path, run: TrainingRun, network: nn.Module) -> None:
    """Write only the network, in half precision: half the bytes, weights rounded by a relative 0.0005."""
    network = copy.deepcopy(network).half()
    write_checkpoint(path, run, network)


def read_training_run(path: Path) -> TrainingRun:
    """Read the metadata of a checkpoint.

    Raises:
        CheckpointInvalid: The file is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return TrainingRun(
            recipe=parse_recipe(json.loads(metadata["recipe"]), source=str(path)),
            data=metadata["data"],
            learned=tuple(json.loads(metadata["learned"])),
            held_out=tuple(json.loads(metadata["held_out"])),
            progress=_progress(json.loads(metadata["progress"])),
            versions=json.loads(metadata["versions"]),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointInvalid(f"{path} is not a checkpoint of a training run: {error}") from error


def restore(
    path: Path,
    network: nn.Module,
    average: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Load the tensors of a checkpoint into network, moving average and optimizer.

    Raises:
        CheckpointInvalid: The tensors belong to another network.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    try:
        network.load_state_dict(_without_prefix(NETWORK, tensors))
        if average is not None:
            average.load_state_dict(_without_prefix(AVERAGE, tensors))
    except RuntimeError as error:
        raise CheckpointInvalid(f"{path} holds another network: {error}") from error
    if optimizer is not None:
        optimizer_state = optimizer.state_dict()
        optimizer_state["state"] = {}
        for name, tensor in _without_prefix(OPTIMIZER, tensors).items():
            number, _, key = name.partition("/")
            optimizer_state["state"].setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict(optimizer_state)


def trained_network(path: Path) -> tuple[nn.Module, TrainingRun]:
    """Return the network to serve from a checkpoint, in evaluation mode: the moving average if there is one.

    Raises:
        CheckpointInvalid: The file is not a checkpoint, or its architecture is unknown.
    """
    run = read_training_run(path)
    if run.recipe.architecture not in ARCHITECTURES:
        raise CheckpointInvalid(f"{path} is of an unknown architecture, {run.recipe.architecture}.")
    try:
        network = build_for_recipe(run.recipe)
    except OptionInvalid as error:
        raise CheckpointInvalid(f"{path} is of another version: {error}") from error
    with safe_open(path, framework="pt") as file:
        has_average = any(name.startswith(AVERAGE) for name in file.keys())  # noqa: SIM118
        prefix = AVERAGE if has_average else NETWORK
        tensors = {name: file.get_tensor(name).float() for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    try:
        network.load_state_dict(_without_prefix(prefix, tensors))
    except RuntimeError as error:
        raise CheckpointInvalid(f"{path} holds another network: {error}") from error
    return network.eval(), run


def _progress_fields(progress: Progress) -> dict[str, object]:
    """Return progress as stored; the file format calls iterations ``step``."""
    fields = asdict(progress)
    fields["step"] = fields.pop("iteration")
    return fields


def _progress(stored: Any) -> Progress:  # Any: parsed JSON
    fields = dict(stored)
    return Progress(iteration=fields.pop("step", 0), **fields)


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}

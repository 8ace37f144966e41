"""Checkpoint: a run at the end of an epoch, in one safetensors file that holds all it takes to go on.

Tensors are the network's, its moving average's and the optimizer's, under names that say which; the rest
(recipe, splits, steps, curves, versions) is JSON in the file's metadata. Nothing is pickled.
"""

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model_export.architectures import ARCHITECTURES
from model_export.errors import CommandFailed
from model_export.recipe import Recipe, parse_recipe

NETWORK, AVERAGE, OPTIMIZER = "network/", "average/", "optimizer/"


class CheckpointInvalid(CommandFailed):
    """A file is not a checkpoint of ours, or not one of this network."""


@dataclass(slots=True)
class Progress:
    """How far a run has come; ``curves`` is a row an epoch."""

    epoch: int = 0
    step: int = 0
    best_mae: float = float("inf")
    best_epoch: int = 0
    seconds: float = 0.0
    curves: list[dict[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """What a checkpoint says beside its tensors."""

    recipe: Recipe
    data: str
    learned: tuple[str, ...]
    held_out: tuple[str, ...]
    progress: Progress
    versions: dict[str, str]


def write_checkpoint(
    path: Path,
    run: Run,
    network: nn.Module,
    average: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Write a checkpoint; a run that is killed meanwhile leaves the earlier one whole."""
    tensors = _named(NETWORK, network.state_dict())
    if average is not None:
        tensors |= _named(AVERAGE, average.state_dict())
    if optimizer is not None:
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= _named(f"{OPTIMIZER}{number}/", state)
    metadata = {
        "recipe": run.recipe.model_dump_json(),
        "data": run.data,
        "learned": json.dumps(run.learned),
        "held_out": json.dumps(run.held_out),
        "progress": json.dumps(asdict(run.progress)),
        "versions": json.dumps(run.versions),
    }
    staged = path.with_name(f".{path.name}.part")
    save_file(tensors, staged, metadata=metadata)
    staged.replace(path)


def write_half(path: Path, run: Run, network: nn.Module) -> None:
    """Write a network alone, in half precision: half the bytes, and a rounding of 0.0005 of each weight."""
    network = copy.deepcopy(network).half()
    write_checkpoint(path, run, network)


def read_run(path: Path) -> Run:
    """Read what a checkpoint says beside its tensors.

    Raises:
        CheckpointInvalid: It is not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
        return Run(
            recipe=parse_recipe(json.loads(said["recipe"]), said_by=str(path)),
            data=said["data"],
            learned=tuple(json.loads(said["learned"])),
            held_out=tuple(json.loads(said["held_out"])),
            progress=Progress(**json.loads(said["progress"])),
            versions=json.loads(said["versions"]),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointInvalid(f"{path} is not a checkpoint of a training run: {error}") from error


def restore(
    path: Path,
    network: nn.Module,
    average: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Put the tensors of a checkpoint where they were.

    Raises:
        CheckpointInvalid: They are not this network's.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    try:
        network.load_state_dict(_under(NETWORK, tensors))
        if average is not None:
            average.load_state_dict(_under(AVERAGE, tensors))
    except RuntimeError as error:
        raise CheckpointInvalid(f"{path} holds another network: {error}") from error
    if optimizer is not None:
        whole = optimizer.state_dict()
        whole["state"] = {}
        for name, tensor in _under(OPTIMIZER, tensors).items():
            number, _, key = name.partition("/")
            whole["state"].setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict(whole)


def trained_network(path: Path) -> tuple[nn.Module, Run]:
    """Return the network to serve from a checkpoint: the average where there is one, in evaluation mode.

    Raises:
        CheckpointInvalid: The file is no checkpoint, or of an unknown architecture.
    """
    run = read_run(path)
    if run.recipe.architecture not in ARCHITECTURES:
        raise CheckpointInvalid(f"{path} is of an unknown architecture, {run.recipe.architecture}.")
    network = ARCHITECTURES[run.recipe.architecture]()
    with safe_open(path, framework="pt") as file:
        has_average = any(name.startswith(AVERAGE) for name in file.keys())  # noqa: SIM118
        kept = AVERAGE if has_average else NETWORK
        tensors = {name: file.get_tensor(name).float() for name in file.keys() if name.startswith(kept)}  # noqa: SIM118
    try:
        network.load_state_dict(_under(kept, tensors))
    except RuntimeError as error:
        raise CheckpointInvalid(f"{path} holds another network: {error}") from error
    return network.eval(), run


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}

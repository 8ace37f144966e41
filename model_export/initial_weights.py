"""Initial weights: the tensors of a file that fit a fresh network are loaded into it.

The file is a checkpoint of a training run, a safetensors file, or a PyTorch file of tensors. A tensor fits if
name and shape are the network's; a VGG-16 classifier is converted to FCN's convolutions first. This is how
FCN-16s continues FCN-32s, and STDC-Seg its pretrained classifier.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model_export.architectures.fcn import FCN
from model_export.architectures.vgg import as_convolutions, is_vgg16
from model_export.checkpoint import AVERAGE, NETWORK, OPTIMIZER
from model_export.encoder_weights import read_tensors
from model_export.errors import CommandFailed

NAME_PARTS = 2  # of a tensor's name, in messages


class WeightsUnfit(CommandFailed):
    """A file of weights cannot be read, or nothing in it fits the network."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What was loaded: a number of tensors, the layers that stay fresh, and those of the file left out."""

    tensors: int
    fresh: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line that lists the layers."""
        fresh, left_out = (", ".join(names) or "nothing" for names in (self.fresh, self.left_out))
        return f"{self.tensors} tensors loaded; fresh: {fresh}; not used: {left_out}"


def load_weights_file(network: nn.Module, path: Path) -> LoadedWeights:
    """Load the tensors of a file that fit the network, and leave the others as they are.

    The scores that an FCN does not find in the file are set to zero, as in the paper.

    Args:
        network: Changed in place.
        path: ``.safetensors``, ``.pth`` or ``.pt``; of a training run, the moving average if there is one.

    Raises:
        WeightsUnfit: The file cannot be read, or nothing in it fits.
        PublishedWeightsInvalid: A PyTorch file holds something else than tensors.
    """
    stored = _read(path)
    if isinstance(network, FCN) and is_vgg16(stored):
        stored = as_convolutions(stored)
    own = network.state_dict()
    fitting = {name: each for name, each in stored.items() if name in own and own[name].shape == each.shape}
    if not fitting:
        raise WeightsUnfit(f"{path} has no tensor whose name and shape the network has.")
    network.load_state_dict({name: each.to(own[name].dtype) for name, each in fitting.items()}, strict=False)
    fresh = _layers(own.keys() - fitting.keys())
    if isinstance(network, FCN):
        network.zero_scores(fresh)
    return LoadedWeights(len(fitting), fresh, _layers(stored.keys() - fitting.keys()))


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read tensors by name; those of a training run without their prefix."""
    if path.suffix != ".safetensors":
        return {name: each for name, each in read_tensors(path).items() if isinstance(each, torch.Tensor)}
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(OPTIMIZER)]  # noqa: SIM118 - not a dict
            prefixes = [each for each in (AVERAGE, NETWORK) if any(name.startswith(each) for name in names)]
            prefix = prefixes[0] if prefixes else ""
            return {
                name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)
            }
    except (OSError, SafetensorError) as error:
        raise WeightsUnfit(f"{path} cannot be read as safetensors: {error}") from error


def _layers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the layers of tensors, up to two parts of their names, in order."""
    return tuple(sorted({".".join(name.split(".")[:-1][:NAME_PARTS]) or name for name in names}))

"""Parity: runs networks that should be equal on the same pictures, and compares their outputs.

*Published* is the authors' ONNX file, *ported* the PyTorch network with its weights, *served* the exported
graph. Three comparisons, each made where it is most precise:

1. Does the ported network equal the published one? All seven outputs, in float64, where rounding is 1e-13.
2. Does the served graph equal the ported network? In float64 as well.
3. Does a batch equal its pictures run one by one? In ONNX Runtime, as served.

Two more figures compare the runtimes in float32 at full size. They include rounding, which differs between
processors, so their limit is a small fraction of one 8-bit step.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from app.onnx_import.runner import Outputs, Runner
from model_export.errors import CommandFailed
from model_export.float64_reference import EXACT_SIZE_PX, ExactModel
from model_export.pictures import synthetic_pictures
from model_export.port import with_identity_norms
from model_export.serving_graph import IMAGENET_MEAN, IMAGENET_STD, ServedGraph

LIMIT = 1e-5
TRAINED_LIMIT = 1e-4
FLOAT32_LIMIT = 5e-4  # an eighth of an 8-bit step


class ParityFailed(CommandFailed):
    """Networks that should be equal differ by more than the limit."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest absolute differences over all pictures and pixels, of saliency in [0, 1].

    ``published``: ported against published, seven outputs, float64.
    ``served``: served against ported, float64.
    ``batch``: a batch, in reverse order, against its pictures one by one, ONNX Runtime.
    ``published_float32``: ported in PyTorch against published in ONNX Runtime, seven outputs.
    ``served_float32``: served in ONNX Runtime against ported in PyTorch.
    """

    published: float
    served: float
    batch: float
    published_float32: float
    served_float32: float

    def quality(self) -> dict[str, float]:
        """Return the figures under their names in a manifest."""
        return {f"parity_{name}_max_abs": figure for name, figure in asdict(self).items()}

    def require(self) -> None:
        """Check that all figures are within their limits.

        Raises:
            ParityFailed: A figure is above its limit or not a number; the message names each with its limit.
        """
        limits = {name: FLOAT32_LIMIT if name.endswith("float32") else LIMIT for name in asdict(self)}
        failed = [
            f"{name} differs by {figure:.3g}, the limit is {limits[name]:g}"
            for name, figure in asdict(self).items()
            if not figure <= limits[name]  # true of NaN too
        ]
        if failed:
            raise ParityFailed(f"Parity does not hold: {'; '.join(failed)}. Nothing was exported.")


def measure_parity(
    network: nn.Module, *, served: bytes, published: Path, pictures: NDArray[np.uint8]
) -> Parity:
    """Compare the published, the ported and the served network.

    Args:
        network: The ported network, in evaluation mode; not changed.
        served: The bytes of the served model.
        published: The authors' ONNX file, whose seven outputs are the fused map and the six side
            outputs after the sigmoid.
        pictures: (N, S, S, 3) uint8 RGB for the float32 figures, at the size of both networks.

    Returns:
        The five figures; ``require`` checks them.
    """
    small = synthetic_pictures(EXACT_SIZE_PX)
    reference = with_identity_norms(copy.deepcopy(network).double())
    published_runner = Runner.load(published.read_bytes())
    served_runner = Runner.load(served)
    one_by_one = np.concatenate([_run(served_runner, picture[None])[0] for picture in pictures])
    return Parity(
        published=compare_published(reference, ExactModel(onnx.load(published)), small),
        served=compare_served(reference, ExactModel(onnx.load_from_string(served)), small),
        batch=max_abs(_run(served_runner, pictures[::-1]), [one_by_one[::-1]]),
        published_float32=_compare_published_float32(network, published_runner, pictures),
        served_float32=max_abs([_saliency(network, pictures)], [one_by_one]),
    )


def measure_trained_parity(
    network: nn.Module, *, served: bytes, pictures: NDArray[np.uint8], foreground: Sequence[int] = ()
) -> dict[str, float]:
    """Compare a trained network with its served graph, into which the normalisations are folded.

    Folding rounds every weight again, so a comparison in float64 would show no more than one in float32.

    Args:
        network: In evaluation mode.
        served: The bytes of the served model.
        pictures: (N, S, S, 3) uint8 RGB at the size of the network.
        foreground: The labels of the classes that are served, as for ``ServedGraph``.

    Returns:
        The figures under their names in a manifest.

    Raises:
        ParityFailed: A figure is above its limit, or is not a number.
    """
    runner = Runner.load(served)
    one_by_one = np.concatenate([_run(runner, picture[None])[0] for picture in pictures])
    figures = {
        "parity_batch_max_abs": max_abs(_run(runner, pictures[::-1]), [one_by_one[::-1]]),
        "parity_served_float32_max_abs": max_abs([_saliency(network, pictures, foreground)], [one_by_one]),
    }
    limits = {"parity_batch_max_abs": LIMIT, "parity_served_float32_max_abs": TRAINED_LIMIT}
    failed = [f"{name} is {figure:.3g}" for name, figure in figures.items() if not figure <= limits[name]]
    if failed:
        raise ParityFailed(f"Parity does not hold: {'; '.join(failed)}. Nothing was exported.")
    return figures


def compare_published(reference: nn.Module, published: ExactModel, pictures: NDArray[np.uint8]) -> float:
    """Return the largest difference of the seven outputs, in float64.

    Args:
        reference: The ported network in float64.
        published: The authors' file in float64.
        pictures: (N, S, S, 3) uint8 RGB of any size S.
    """
    normalised = normalise(pictures)
    return max_abs(_maps(reference, normalised), published.run(normalised))


def compare_served(reference: nn.Module, served: ExactModel, pictures: NDArray[np.uint8]) -> float:
    """Return the largest difference of the saliency, in float64.

    Both contain the preprocessing, so it is compared as well; ``normalise``, which shares no code with the
    served graph, checks that it is the authors'.

    Args:
        reference: The ported network in float64.
        served: The served graph in float64.
        pictures: (N, S, S, 3) uint8 RGB; S a multiple of 32.
    """
    saliency = served.run(pictures)[0]
    by_numpy = _maps(reference, normalise(pictures))[0][:, 0]
    return max_abs([saliency, saliency], [_saliency(reference, pictures), by_numpy])


def normalise(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Normalise pictures as the authors' test code does.

    Args:
        pictures: (N, S, S, 3) uint8 RGB.

    Returns:
        (N, 3, S, S) float64: divided by the picture's own maximum, then normalised by ImageNet's mean and
        standard deviation.
    """
    brightest = np.maximum(pictures.max(axis=(1, 2, 3), keepdims=True), 1)
    # Mean and standard deviation are float32 in the graph, in every precision.
    mean, std = (np.asarray(triple, dtype=np.float32) for triple in (IMAGENET_MEAN, IMAGENET_STD))
    normalised: NDArray[np.float64] = (pictures / brightest - mean) / std
    return normalised.transpose(0, 3, 1, 2)


def max_abs(ours: Sequence[NDArray[np.floating]], theirs: Sequence[NDArray[np.floating]]) -> float:
    """Return the largest absolute difference between two lists of maps; NaN if one contains a NaN.

    Raises:
        ParityFailed: The lists differ in length, or the maps in shape.
    """
    shapes = [[each.shape for each in maps] for maps in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ParityFailed(f"Parity does not hold: the shapes are {shapes[0]} and {shapes[1]}.")
    return max(float(np.max(np.abs(a.astype(np.float64) - b))) for a, b in zip(ours, theirs, strict=True))


def _maps(network: nn.Module, normalised: NDArray[np.floating]) -> Sequence[NDArray[np.floating]]:
    with torch.inference_mode():
        return [torch.sigmoid(logits).numpy() for logits in network(torch.from_numpy(normalised))]


def _saliency(
    network: nn.Module, pictures: NDArray[np.uint8], foreground: Sequence[int] = ()
) -> NDArray[np.floating]:
    precision = next(network.parameters()).dtype
    graph = ServedGraph(network, foreground).eval().to(precision)
    with torch.inference_mode():
        maps = [graph(torch.from_numpy(picture[None])).numpy() for picture in pictures]
    return np.concatenate(maps)


def _compare_published_float32(network: nn.Module, published: Runner, pictures: NDArray[np.uint8]) -> float:
    normalised = normalise(pictures).astype(np.float32)
    return max(max_abs(_maps(network, one[None]), _run(published, one[None])) for one in normalised)


def _run(runner: Runner, network_input: NDArray[np.float32] | NDArray[np.uint8]) -> Outputs:
    return runner.run(np.ascontiguousarray(network_input))

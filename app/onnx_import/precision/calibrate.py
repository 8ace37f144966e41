"""Calibrate: runs a float32 graph on pictures, and chooses the range of every tensor that becomes 8 bits.

A first run over the pictures finds the smallest and the largest value of each tensor. With the method
``squared-error``, a second run counts its values between them, and the range with the least squared error is
chosen: a rare large value is clipped if that makes the steps of all others finer. Which method is better
differs by network (``docs/experiments.md``). The means of what each layer reads correct its bias later.

References:
    Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", NeurIPS
    2019, arXiv:1810.05723 (clipping that minimises the squared error).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.precision.graph_layers import observed_tensors, read_layers
from app.onnx_import.precision.int8_entry import COLOURS, fold_normalisation
from app.onnx_import.precision.int8_graph import LEVELS
from app.onnx_import.runner import Runner

BINS = 2048
SHARES = np.linspace(0.25, 1.0, 76)
"""Candidates for a range, as shares of the observed one."""
STRIDE = 3
"""Of a map's rows and columns, every third is counted; all are in the smallest and largest."""
MIN_MAX, SQUARED_ERROR = "min-max", "squared-error"
Range = tuple[float, float]
Pictures = Callable[[str], Iterable[NDArray[np.uint8]]]
"""Yields the pictures, batches of one (1, S, S, 3), from the first one again; takes the title of the run."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a calibration found.

    ``activations`` maps a layer, or a tensor that no layer makes, to the smallest and largest value that its
    8 bits represent; ``means`` maps a layer to the mean of each channel that it reads.
    """

    activations: dict[str, Range]
    means: dict[str, list[float]]


def calibrate(model_bytes: bytes, pictures: Pictures, *, method: str = MIN_MAX) -> Calibration:
    """Return the ranges of a float32 graph's tensors on pictures.

    Args:
        model_bytes: A float32 graph with the serving contract.
        pictures: Yields the pictures.
        method: ``squared-error`` or ``min-max``, which takes the observed range.
    """
    observer = _Observer(model_bytes)
    bounds: dict[str, Range] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    count = 0
    for network_input in pictures("smallest and largest values"):
        count += 1
        observed = observer.run(network_input)
        for layer, means in observed.means.items():
            sums[layer] = sums.get(layer, np.zeros(len(means))) + means
        for label, values in observed.tensors.items():
            low, high = bounds.get(label, (0.0, 0.0))
            bounds[label] = min(low, float(values.min())), max(high, float(values.max()))
    if method == SQUARED_ERROR:
        counts = {label: np.zeros(BINS, np.int64) for label in bounds}
        for network_input in pictures("distribution of values"):
            for label, values in observer.run(network_input).tensors.items():
                counts[label] += histogram(values[..., ::STRIDE, ::STRIDE], bounds[label])
        bounds = {label: least_squared_error(counts[label], bounds[label]) for label in bounds}
    if COLOURS in bounds:
        # So that the 256 levels are the picture's own; a network of others may take colours up to 255.
        bounds[COLOURS] = (0.0, 1.0 if bounds[COLOURS][1] <= 1 else 255.0)
    return Calibration(
        {label: (_rounded(low, 5), _rounded(high, 5)) for label, (low, high) in bounds.items()},
        {layer: [_rounded(each / count, 4) for each in sums[layer]] for layer in sums},
    )


def histogram(values: NDArray[np.float32], bounds: Range) -> NDArray[np.int64]:
    """Count values in ``BINS`` bins of equal width over ``bounds``, which contain them all."""
    low, high = bounds
    width = max(high - low, 1e-12) / BINS
    numbers = ((values.ravel() - np.float32(low)) / np.float32(width)).astype(np.int32)
    return np.bincount(np.clip(numbers, 0, BINS - 1), minlength=BINS)


def least_squared_error(counts: NDArray[np.int64], bounds: Range) -> Range:
    """Return the range whose 256 levels represent a distribution with the least squared error.

    Args:
        counts: (BINS,), the distribution over ``bounds``.
        bounds: The observed range; it contains 0.
    """
    low, high = bounds
    centres = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
    errors = []
    for share in SHARES:
        scale = max(share * (high - low), 1e-12) / LEVELS
        zero_point = round(-share * low / scale)
        levels = np.clip(np.rint(centres / scale) + zero_point, 0, LEVELS)
        errors.append(float((counts * ((levels - zero_point) * scale - centres) ** 2).sum()))
    share = float(SHARES[int(np.argmin(errors))])
    return share * low, share * high


class _Observer:
    """Runs a graph, and returns the tensors whose ranges are needed, and means of what layers read."""

    def __init__(self, model_bytes: bytes) -> None:
        model = onnx.load_from_string(model_bytes)
        graph = model.graph
        fold_normalisation(graph)
        found = read_layers(graph)
        self._tensors = observed_tensors(found)
        self._means = {name: f"{name}_mean" for name in found.layers}
        self._input_name = graph.input[0].name
        graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "height_and_width"))
        for name, mean in self._means.items():
            inputs = [found.layers[name].conv.input[0], "height_and_width"]
            graph.node.append(helper.make_node("ReduceMean", inputs, [mean], name=mean, keepdims=0))
        del graph.output[:]
        for name in (*self._tensors.values(), *self._means.values()):
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self._session = Runner.load(model.SerializeToString()).session

    def run(self, network_input: NDArray[np.uint8]) -> "_Observed":
        """Run a batch of one."""
        names = [*self._tensors.values(), *self._means.values()]
        values = self._session.run(names, {self._input_name: network_input})
        tensors, means = values[: len(self._tensors)], values[len(self._tensors) :]
        return _Observed(
            dict(zip(self._tensors, tensors, strict=True)),
            {layer: mean[0] for layer, mean in zip(self._means, means, strict=True)},
        )


@dataclass(frozen=True, slots=True)
class _Observed:
    """The tensors of one picture by label, and the mean of each channel that a layer reads, by layer."""

    tensors: dict[str, NDArray[np.float32]]
    means: dict[str, NDArray[np.float32]]


def _rounded(value: float, digits: int) -> float:
    """Return a value with a few digits; five are finer than a step of 8 bits."""
    return float(f"{value:.{digits}g}")

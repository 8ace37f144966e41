"""Search: finds a way to quantise a network of a third party whose maps stay close to float32.

1. Layers with one or two output channels make the map itself and stay in float32.
2. Ranges are the observed ones, then those of the least squared error; the closer maps decide.
3. If both are too far, layers that one scale cannot represent are looked for: the layers in their order are
   halved, with a middle half that overlaps both, and the half that gains most in float32 is halved again,
   down to two layers. These stay in float32, and the search goes on while it gains.

Only pictures of the calibration decide; the figures that are published belong to others (``judge``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from app.arrays import NetworkInput, SaliencyMap
from app.onnx_import.precision.calibrate import MIN_MAX, SQUARED_ERROR, Calibration, calibrate
from app.onnx_import.precision.graph_layers import read_layers
from app.onnx_import.precision.judge import MAX_D, differences, maps_of
from app.onnx_import.precision.quantise import quantise
from app.onnx_import.refusal import GraphRefused

MAP_CHANNELS = 2
TRIALS = 4
"""Pictures that decide between ways to quantise."""
AIM = 0.75 * MAX_D
"""Other pictures may be further away."""
ISLAND = 2
MAX_ISLANDS = 6
MIN_GAIN = 0.9
"""What an island must leave of d at most, or the search ends."""
MIN_SHARE = 0.5
"""Of the weights, in 8 bits; below it a graph is not worth its file."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """Quantises a graph, and measures d on a few pictures."""

    model_bytes: bytes
    pictures: Sequence[NetworkInput]
    expected: Sequence[SaliencyMap]

    def run(self, calibration: Calibration, kept: Sequence[str]) -> tuple[float, bytes]:
        """Return d, infinite if a map is not finite, and the graph with some layers in float32."""
        made = quantise(self.model_bytes, calibration.activations, calibration.means, islands=kept)
        d = float(np.mean(differences(maps_of(made, self.pictures), self.expected)))
        return (d if np.isfinite(d) else np.inf), made


def quantise_closely(model_bytes: bytes, pictures: Sequence[NetworkInput]) -> bytes:
    """Return the closest int8 graph that was found.

    Args:
        model_bytes: A float32 graph, as ``canonical`` returns it.
        pictures: Those to calibrate on, each (S, S, 3) uint8.

    Raises:
        GraphRefused: The graph has no layer to quantise.
        RunFailed: The runtime cannot run a graph that was made; onnx's checker has errors of its own.
    """
    kernels = _kernels(onnx.load_from_string(model_bytes).graph)
    kept = [name for name, kernel in kernels.items() if len(kernel) <= MAP_CHANNELS]
    if len(kept) == len(kernels):
        raise GraphRefused("The graph has no convolution that could run in 8 bits. Add it in float32 only.")
    trials = list(pictures[:: max(1, len(pictures) // TRIALS)][:TRIALS])
    trial = _Trial(model_bytes, trials, maps_of(model_bytes, trials))
    ways: list[tuple[float, bytes, Calibration]] = []
    for method in (MIN_MAX, SQUARED_ERROR):
        calibration = calibrate(model_bytes, lambda _: (each[None] for each in pictures), method=method)
        d, made = trial.run(calibration, kept)
        if d <= AIM:
            return made
        ways.append((d, made, calibration))
    return _with_islands(trial, min(ways, key=lambda way: way[0]), kernels, kept)


def _with_islands(
    trial: _Trial,
    found: tuple[float, bytes, Calibration],
    kernels: Mapping[str, NDArray[np.float32]],
    kept: Sequence[str],
) -> bytes:
    """Return the closest graph with further layers in float32, as long as they help and are few."""
    best_d, best, calibration = found
    weights = {name: kernel.size for name, kernel in kernels.items()}
    for _ in range(MAX_ISLANDS):
        kept = [*kept, *_find_island(trial, calibration, weights, kept)]
        if sum(weights[name] for name in weights if name not in kept) < MIN_SHARE * sum(weights.values()):
            break
        d, made = trial.run(calibration, kept)
        if not d < MIN_GAIN * best_d:
            break
        best_d, best = d, made
        if d <= AIM:
            break
    return best


def _find_island(
    trial: _Trial, calibration: Calibration, weights: Mapping[str, int], kept: Sequence[str]
) -> Sequence[str]:
    """Return the neighbouring layers whose precision matters most; of those that suffice, the smallest."""

    def rank(names: Sequence[str]) -> tuple[bool, float]:
        d, _ = trial.run(calibration, [*kept, *names])
        suffices = d <= AIM
        return not suffices, sum(weights[name] for name in names) if suffices else d

    block: Sequence[str] = [name for name in weights if name not in kept]
    while len(block) > ISLAND:
        length = max(ISLAND, len(block) // 2)
        middle = (len(block) - length) // 2
        block = min((block[:length], block[middle : middle + length], block[-length:]), key=rank)
    return block


def _kernels(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Return the kernel of each layer, (out, in, height, width)."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    layers = read_layers(graph).layers
    return {name: numpy_helper.to_array(stored[layer.weight]) for name, layer in layers.items()}

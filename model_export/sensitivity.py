"""Sensitivity: what it costs to quantise each layer or stage alone, and what each island is worth.

A row is the mean d to the float32 map over a few pictures. Layers are quantised alone with the others in
float32; islands are given up one by one from the graph that is exported.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from app.onnx_import.precision.graph_layers import read_layers
from app.onnx_import.precision.judge import differences, maps_of
from app.onnx_import.precision.quantise import quantise
from model_export.islands import ISLANDS, island_layers
from model_export.ranges import Ranges


@dataclass(frozen=True, slots=True)
class Cost:
    """The d of one graph, and what was quantised in it."""

    name: str
    d: float


def measure_sensitivity(
    model_bytes: bytes,
    ranges: Ranges,
    network_inputs: Sequence[NDArray[np.uint8]],
    *,
    by_layer: bool,
    track: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> tuple[list[Cost], list[Cost]]:
    """Return the cost of each stage or layer alone, the dearest first, and of each island given up.

    Args:
        model_bytes: The exported float32 graph.
        ranges: The ranges of its tensors.
        network_inputs: Each (S, S, 3) uint8.
        by_layer: A row for each layer; otherwise for each stage, ``encoder.0`` or ``sides``.
        track: Shows progress over the names.
    """
    layers = list(read_layers(onnx.load_from_string(model_bytes).graph).layers)
    reference = maps_of(model_bytes, network_inputs)

    def d_of(islands: Sequence[str]) -> float:
        graph = quantise(model_bytes, ranges.activations, ranges.means, islands=islands)
        return float(np.mean(differences(maps_of(graph, network_inputs), reference)))

    groups: dict[str, list[str]] = {}
    for name in layers:
        groups.setdefault(name if by_layer else stage_of(name), []).append(name)
    alone = {group: [name for name in layers if name not in groups[group]] for group in groups}
    kept = island_layers(ranges.model, layers)
    given_up = {"as exported": kept}
    for island in ISLANDS[ranges.model]:
        rest = [name for name in kept if not name.startswith(island.layers)]
        given_up[f"without the island {', '.join(island.layers)}"] = rest
    islands = alone | given_up
    costs = {name: Cost(name, d_of(islands[name])) for name in track(list(islands))}
    dearest_first = sorted((costs[name] for name in alone), key=lambda cost: -cost.d)
    return dearest_first, [costs[name] for name in given_up]


def stage_of(layer: str) -> str:
    """Return the stage of a layer: ``encoder.0`` of ``encoder.0.decoder.2``, ``sides`` of ``sides.3``."""
    parts = layer.split(".")
    return parts[0] if len(parts) <= 2 and parts[0] == "sides" else ".".join(parts[:2])


def sensitivity_table(alone: Sequence[Cost], given_up: Sequence[Cost]) -> list[str]:
    """Return the lines of two Markdown tables."""
    lines = ["| quantised alone | d |", "|---|---|"]
    lines += [f"| {cost.name} | {cost.d:.5f} |" for cost in alone]
    lines += ["", "| int8 graph | d |", "|---|---|"]
    return lines + [f"| {cost.name} | {cost.d:.5f} |" for cost in given_up]

"""Proposal: chooses which output of a graph is served and what follows it, from what a run showed."""

from dataclasses import replace

import numpy as np

from app.onnx_import.anatomy import Anatomy
from app.onnx_import.refusal import GraphRefused
from app.onnx_import.runner import Outputs
from app.onnx_import.trial import shape_of
from app.onnx_import.wrapping import MapShape
from app.weights.preprocessing import NO_ACTIVATION, SIGMOID, Preprocessing

OUT_OF_RANGE = 0.02
"""How far a map may leave [0, 1] by rounding; logits leave it by far."""


def propose_output(
    raw: list[Outputs],
    anatomy: Anatomy,
    preprocessing: Preprocessing,
    *,
    size: tuple[int, int],
    known: set[str],
) -> tuple[Preprocessing, MapShape]:
    """Choose the output and the activation, unless they are among the known fields.

    Args:
        raw: All outputs for each photograph.
        anatomy: What was read off the graph.
        preprocessing: As far as it is known.
        size: (height, width) of the network's input.
        known: The names of the fields that the user or the catalogue decided.

    Raises:
        GraphRefused: No output is a map, or what follows it is not clear.
    """
    number = preprocessing.output
    if not -len(anatomy.outputs) <= number < len(anatomy.outputs):
        raise GraphRefused(f"The graph has {len(anatomy.outputs)} outputs, numbered from 0; not {number}.")
    if "output" not in known:
        shapes = [shape_of(output, size) for output in raw[0]]
        found = (n for n, shape in enumerate(shapes) if shape is not None and shape.channels <= 2)
        number = next(found, 0)
    number %= len(anatomy.outputs)
    shape = shape_of(raw[0][number], size)
    if shape is None:
        raise GraphRefused(
            f"The output {number} has the shape {list(raw[0][number].shape)}, which is no map of a picture."
        )
    shape = replace(shape, is_softmax=_is_softmax(raw, number, shape))
    activation = preprocessing.activation
    if "activation" not in known:
        activation = _activation(raw, number, shape, anatomy)
    proposed = replace(preprocessing, output=number, activation=activation)
    channel = proposed.channel
    if (channel is None) != (shape.channels == 1) or (channel is not None and channel >= shape.channels):
        raise GraphRefused(
            f"The output {number} has {shape.channels} channels, which the activation {activation} does not "
            "fit. Name the foreground's channel K by --activation softmax:K, or another output by --output N."
        )
    return proposed, shape


def _is_softmax(raw: list[Outputs], number: int, shape: MapShape) -> bool:
    """Return whether an output's channels are probabilities, however the graph computes them."""
    if shape.channels == 1 or not _is_in_range(raw, number):
        return False
    axis = 3 if shape.is_channels_last else 1
    sums = [outputs[number].sum(axis=axis, dtype=np.float64) for outputs in raw]
    return all(bool(np.abs(each - 1).max() <= OUT_OF_RANGE) for each in sums)


def _activation(raw: list[Outputs], number: int, shape: MapShape, anatomy: Anatomy) -> str:
    """Propose what follows an output: nothing if it already lies in [0, 1]."""
    if shape.channels == 2:
        if not shape.is_softmax and _is_in_range(raw, number):
            raise GraphRefused(
                f"The output {number} has two channels between 0 and 1 that do not add up to 1, so they are "
                "neither a softmax nor logits. Export the foreground's channel alone; or, if they are "
                "logits, name the foreground's channel K by --activation softmax:K."
            )
        return "softmax:1"
    if anatomy.outputs[number].activation is not None or _is_in_range(raw, number):
        return NO_ACTIVATION
    low, high = _range(raw, number)
    if low >= -OUT_OF_RANGE:
        raise GraphRefused(
            f"The output {number} has values from {low:.3g} to {high:.3g}. A map ends at 1, and logits are "
            "below 0 in a background. Export the network so that it returns one of these; or name what "
            "follows the output by --activation."
        )
    return SIGMOID


def _is_in_range(raw: list[Outputs], number: int) -> bool:
    low, high = _range(raw, number)
    return low >= -OUT_OF_RANGE and high <= 1 + OUT_OF_RANGE


def _range(raw: list[Outputs], number: int) -> tuple[float, float]:
    return min(float(each[number].min()) for each in raw), max(float(each[number].max()) for each in raw)

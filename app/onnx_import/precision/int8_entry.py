"""Int8 entry: the first convolution of an int8 graph reads the picture's own bytes, not normalised values.

The normalisation (x / brightest - mean) / std is linear, so the kernel can hold it: the weights of a colour
are divided by its std, and a fourth channel, which is 1 in the whole picture, holds the mean. The padding
outside is 0 in that channel too, as it is after a normalisation. A picture with a white pixel is then read
without rounding, and four channels suit kernels of integer convolutions, which three do not.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.onnx_import.precision.graph_layers import read_layers

COLOURS = "colours_and_ones"
"""The tensor (N, 4, S, S) that the convolution reads instead; in an export its values lie in [0, 1]."""
LARGEST_MEAN = 1.0
"""Next to the weights of a larger mean, those of the colours have no steps left in 8 bits."""
NORMALISATION = ("Transpose", "Div", "Sub")
"""What comes before the first convolution, the last first; see ``serving_graph``."""


def fold_normalisation(graph: onnx.GraphProto) -> bool:
    """Let the first convolution of a float32 graph read colours in [0, 1] and a channel of ones, in place.

    Returns:
        Whether the graph has the normalisation of ``serving_graph``, with means of colours up to 1, and
        only the first convolution reads its result; if not, it is unchanged.
    """
    found = read_layers(graph)
    conv = next(iter(found.layers.values())).conv
    steps: list[onnx.NodeProto] = []
    source = conv.input[0]
    for operator in NORMALISATION:
        node = found.producers.get(source)
        if node is None or node.op_type != operator or len(found.consumers[source]) > 1:
            return False
        steps.append(node)
        source = node.input[0]
    constants = {each.name: each for each in graph.initializer}
    stored = [constants[step.input[1]] for step in steps[1:] if step.input[1] in constants]
    std, mean = (numpy_helper.to_array(each) for each in stored) if len(stored) == 2 else (None, None)
    if mean is None or std is None or mean.shape != (3,) or std.shape != (3,):
        return False
    if np.abs(mean).max() > LARGEST_MEAN:
        return False
    weight = constants[conv.input[1]]
    folded = with_normalisation(numpy_helper.to_array(weight), mean, std)
    weight.CopyFrom(numpy_helper.from_array(folded, weight.name))
    _read_colours(graph, conv, source, steps)
    return True


def with_normalisation(
    kernel: NDArray[np.float32], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the kernel (out, 4, height, width) for colours in [0, 1] and a channel of ones."""
    colours = kernel.astype(np.float64) / std[:, None, None]
    ones = -(colours * mean[:, None, None]).sum(axis=1, keepdims=True)
    return np.concatenate([colours, ones], axis=1).astype(np.float32)


def _read_colours(
    graph: onnx.GraphProto, conv: onnx.NodeProto, source: str, steps: Sequence[onnx.NodeProto]
) -> None:
    border, one = f"{COLOURS}_border", f"{COLOURS}_one"
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([0] * 7 + [1], np.int64), border),
            numpy_helper.from_array(np.float32(1), one),
        ]
    )
    pad = helper.make_node("Pad", [source, border, one], [f"{COLOURS}_nhwc"], name=f"{COLOURS}_pad")
    transpose = onnx.NodeProto()
    transpose.CopyFrom(steps[0])
    transpose.input[0], transpose.output[0] = f"{COLOURS}_nhwc", COLOURS
    kept = [node for node in graph.node if node.name not in {step.name for step in steps}]
    first = next(number for number, node in enumerate(kept) if node.name == conv.name)
    conv.input[0] = COLOURS
    del graph.node[:]
    graph.node.extend([*kept[:first], pad, transpose, *kept[first:]])
    for unused in [each for each in graph.initializer if each.name in {step.input[1] for step in steps[1:]}]:
        graph.initializer.remove(unused)

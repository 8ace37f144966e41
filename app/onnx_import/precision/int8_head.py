"""Int8 head: a convolution from many 8-bit channels to one map of logits in float32.

A convolution kernel computes 16 output channels at a time, so a layer with one wastes most of its work. Here
the nine taps of the 3 × 3 kernel are the columns of a matrix. One integer product over all pixels gives what
each tap adds, as exact sums; a transposed convolution of nine weights then scales them, moves them into place
and adds them up. Every tap has its own scale, and the logits are never rounded to 8 bits. The product reads
the features in the layout that integer convolutions leave them in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from app.onnx_import.precision.int8_weights import WEIGHT_LIMIT
from app.onnx_import.precision.node_writer import TO_NCHW, TO_NHWC, NodeWriter, Scale

TAPS = (3, 3)


@dataclass(frozen=True, slots=True)
class EightBit:
    """A uint8 tensor (N, channels, height, width), its scale, and the mean of each channel."""

    name: str
    scale: Scale
    means: Sequence[float]


def is_head(conv: onnx.NodeProto, kernel: NDArray[np.float32]) -> bool:
    """Return whether ``write_logits`` can compute a convolution with this kernel (out, in, height, width)."""
    lists = {each.name: list(each.ints) for each in conv.attribute if each.ints}
    is_plain = lists.pop("pads", None) == [1] * 4 and lists.pop("kernel_shape", [3, 3]) == [3, 3]
    return len(kernel) == 1 and kernel.shape[2:] == TAPS and is_plain and all(map(_is_ones, lists.values()))


def _is_ones(values: Sequence[int]) -> bool:
    """Return whether all of an attribute's numbers are 1, as strides and dilations of a plain convolution."""
    return set(values) == {1}


def write_logits(
    writer: NodeWriter,
    features: EightBit,
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32],
    output: str,
) -> None:
    """Write the nodes of a convolution with a padding of 1.

    Args:
        writer: Takes the nodes.
        features: What the layer reads.
        kernel: (1, channels, 3, 3).
        bias: (1,).
        output: The name of the float32 result (N, 1, height, width).
    """
    columns = kernel[0].reshape(kernel.shape[1], -1).astype(np.float64)  # (1, C, 3, 3) -> (C, 9)
    steps = np.maximum(np.abs(columns).max(axis=0), np.finfo(np.float32).tiny) / WEIGHT_LIMIT
    matrix = np.rint(columns / steps).astype(np.int8)
    loss = (columns - matrix * steps).sum(axis=1) @ np.asarray(features.means, np.float64)
    pixels = writer.write("Transpose", [features.name], perm=TO_NHWC)
    zero_name = writer.scale(features.scale)[1]
    sums = writer.write("MatMulInteger", [pixels, writer.constant(matrix), zero_name])
    maps = writer.write("Transpose", [writer.write("Cast", [sums], to=TensorProto.FLOAT)], perm=TO_NCHW)
    places = writer.constant(_places(steps * features.scale[0]))
    corrected = writer.constant((bias + loss).astype(np.float32))
    writer.write("ConvTranspose", [maps, places, corrected], output, pads=[1, 1, 1, 1])


def _places(scales: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the kernel (9, 1, 3, 3) of a transposed convolution that moves each tap's map into place.

    A convolution adds tap (0, 0) to the pixel below and to the right of it, so the taps are turned round.
    """
    taps = np.diag(scales.astype(np.float32)).reshape(-1, 1, *TAPS)
    return np.ascontiguousarray(taps[:, :, ::-1, ::-1])

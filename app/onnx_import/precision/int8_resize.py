"""Int8 resize: doubles a feature map in 8 bits, with bilinear weights and rounding to the nearest.

ONNX Runtime's Resize of integers rounds down and is slow; the one in float32 converts every value twice. But
along one axis, bilinear doubling is a mean of neighbours: pixel 2i is 3/4 of pixel i and 1/4 of pixel i - 1,
pixel 2i + 1 the same with pixel i + 1, and the border repeats. Each of these is one sum of two 8-bit tensors,
whose scales hold the weights.

In the layout (N, height, width, channels), which integer convolutions use anyway, a concatenation along the
next axis and a change of shape that moves nothing put even and odd pixels in turn.
"""

import onnx

from app.onnx_import.precision.node_writer import TO_NCHW, TO_NHWC, NodeWriter, Scale

NEAR, FAR = 0.75, 0.25
HEIGHT, WIDTH = 1, 2  # axes of (N, height, width, channels)
END = 2**31 - 1
CENTRED = (b"half_pixel", b"pytorch_half_pixel")
"""They differ for a result of one pixel alone."""


def doubles(resize: onnx.NodeProto, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Return whether a Resize is the one that ``write_doubling`` writes.

    Args:
        resize: The node.
        before: Shape of its input, (N, channels, height, width).
        after: Shape of its output.
    """
    modes = {each.name: each.s for each in resize.attribute}
    is_bilinear = modes.get("mode") == b"linear" and not any(each.i for each in resize.attribute)
    is_centred = modes.get("coordinate_transformation_mode", b"half_pixel") in CENTRED
    return is_bilinear and is_centred and after[2:] == (2 * before[2], 2 * before[3])


def write_doubling(
    writer: NodeWriter, features: str, scale: Scale, shape: tuple[int, int, int], output: str
) -> None:
    """Write the nodes that double a feature map.

    Args:
        writer: Takes the nodes.
        features: A uint8 tensor (N, channels, height, width).
        scale: Scale and zero point of input and output.
        shape: Channels, height and width of ``features``.
        output: The name of the uint8 result (N, channels, 2 height, 2 width).
    """
    channels, height, width = shape
    single = writer.write("Transpose", [features], perm=TO_NHWC)
    rows = _doubled(writer, single, scale, HEIGHT, (2 * height, width, channels))
    both = _doubled(writer, rows, scale, WIDTH, (2 * height, 2 * width, channels))
    writer.write("Transpose", [both], output, perm=TO_NCHW)


def _doubled(writer: NodeWriter, features: str, scale: Scale, axis: int, shape: tuple[int, int, int]) -> str:
    """Double (N, height, width, channels) along one axis; ``shape`` is the result's, without N."""
    border = [int(each % 4 == axis) for each in range(8)]
    padded = writer.write("Pad", [features, writer.integers(*border)], mode="edge")
    phases = []
    for begin, end in ((0, -2), (2, END)):
        bounds = [writer.integers(each) for each in (begin, end, axis)]
        neighbour = writer.write("Slice", [padded, *bounds])
        near = writer.write("DequantizeLinear", [features, *writer.scale((NEAR * scale[0], scale[1]))])
        far = writer.write("DequantizeLinear", [neighbour, *writer.scale((FAR * scale[0], scale[1]))])
        mean = writer.write("Add", [near, far])
        phases.append(writer.write("QuantizeLinear", [mean, *writer.scale(scale)]))
    in_turn = writer.write("Concat", phases, axis=axis + 1)
    return writer.write("Reshape", [in_turn, writer.integers(0, *shape)])

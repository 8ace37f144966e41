"""Anatomy: reads off a graph its input's layout and size, its outputs, and a sigmoid at its end.

How a picture is normalised cannot be read off; only the authors know it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from app.onnx_import.refusal import GraphRefused

Layout = Literal["NCHW", "NHWC"]
CHANNELS = 3
INPUT_TYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
OUTPUT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
_PASSED = frozenset(
    {
        "Identity",
        "Cast",
        "Squeeze",
        "Unsqueeze",
        "Reshape",
        "Transpose",
        "Resize",
        "Upsample",
        "Slice",
        "Clip",
    }
)
"""Operators between an activation and the output that leave its values within its range."""
_ACTIVATIONS = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})
MAX_SIDE_PX = 4096


@dataclass(frozen=True, slots=True)
class GraphInput:
    """The input of a graph.

    Attributes:
        name: The tensor's name.
        layout: Where its channels are.
        kind: ``float32``, ``float16`` or ``uint8``.
        batch: Its fixed batch size, or None.
        height: Its fixed height, or None.
        width: Likewise.
    """

    name: str
    layout: Layout
    kind: str
    batch: int | None
    height: int | None
    width: int | None


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """An output of a graph: its name, and the operator that ends it, if that is an activation."""

    name: str
    activation: str | None


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What can be read off a graph."""

    input: GraphInput
    outputs: tuple[GraphOutput, ...]
    opset: int


def read_anatomy(model: onnx.ModelProto) -> Anatomy:
    """Read a graph's input and outputs.

    Raises:
        GraphRefused: It takes something else than one RGB picture, or returns no tensor of real numbers.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        raise GraphRefused(f"The graph has {len(inputs)} inputs ({names}); a network of pictures has one.")
    makers = {name: node for node in graph.node for name in node.output}
    outputs = tuple(
        GraphOutput(each.name, _activation(each.name, makers))
        for each in graph.output
        if each.type.tensor_type.elem_type in OUTPUT_TYPES
    )
    if not outputs or len(outputs) != len(graph.output):
        raise GraphRefused("The graph has an output that is no tensor of real numbers, so it returns no map.")
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    return Anatomy(_read_input(inputs[0]), outputs, opset)


def _read_input(value: onnx.ValueInfoProto) -> GraphInput:
    elem_type = value.type.tensor_type.elem_type
    kind = INPUT_TYPES.get(elem_type)
    # Some exporters write -1 for an axis of any length.
    sizes = [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]
    if kind is None:
        known = {number: name.lower() for name, number in TensorProto.DataType.items()}
        raise GraphRefused(
            f"The graph's input {value.name!r} has the type {known.get(elem_type, elem_type)}; a picture is "
            f"given as {', '.join(INPUT_TYPES.values())}. Export the network with one of these."
        )
    if len(sizes) != 4:
        shown = [size or "?" for size in sizes]
        raise GraphRefused(
            f"The graph's input {value.name!r} has the shape {shown}, which is no RGB picture."
        )
    layout: Layout = "NHWC" if sizes[3] == CHANNELS and sizes[1] != CHANNELS else "NCHW"
    channels, height, width = sizes[1:] if layout == "NCHW" else (sizes[3], *sizes[1:3])
    if channels not in (CHANNELS, None):
        raise GraphRefused(f"The graph's input {value.name!r} has {channels} channels; a picture has three.")
    if max(height or 1, width or 1) > MAX_SIDE_PX:
        raise GraphRefused(f"The graph takes {height} × {width} px; at most {MAX_SIDE_PX} px are served.")
    return GraphInput(value.name, layout, kind, sizes[0], height, width)


def _activation(name: str, makers: Mapping[str, onnx.NodeProto]) -> str | None:
    """Return the activation that makes a tensor's values, seen through what does not change them."""
    for _ in range(len(makers)):
        node = makers.get(name)
        if node is None:
            return None
        if node.op_type in _ACTIVATIONS:
            return str(node.op_type)
        if node.op_type not in _PASSED or not node.input:
            return None
        name = node.input[0]
    return None

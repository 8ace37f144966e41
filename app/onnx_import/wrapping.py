"""Wrapping: puts the serving contract around a graph, uint8 (N, S, S, 3) in, float32 saliency (N, S, S) out.

Every number before the network is computed per picture, so a batch never mixes its pictures. Only operators
whose form is the same in all versions are added, since a graph keeps its own opset.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.anatomy import Anatomy
from app.onnx_import.batch_axis import BATCH_AXIS
from app.onnx_import.refusal import GraphRefused
from app.onnx_import.traversal import graphs_of
from app.weights.preprocessing import OWN_MAXIMUM, OWN_RANGE, SIGMOID, Preprocessing

INPUT_NAME, OUTPUT_NAME = "network_input", "saliency"
PREFIX = "network."
MIN_IR_VERSION = 8
"""The first that keeps stored tensors out of the inputs and knows all operators' forms."""
RESIZE_OPSET, REDUCE_BY_INPUT_OPSET = 11, 18
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


@dataclass(frozen=True, slots=True)
class MapShape:
    """The shape of the served output for one picture, as a run of the graph showed it.

    Attributes:
        height: Of the map.
        width: Likewise.
        channels: Their number.
        is_channels_last: Whether they are the last axis of four.
        is_softmax: Whether they are probabilities already, which add up to 1.
    """

    height: int
    width: int
    channels: int
    is_channels_last: bool
    is_softmax: bool = False


@dataclass(slots=True)
class _Chain:
    """Nodes in a row, each reading the result of the one before."""

    tensor: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:  # Any: as helper.make_node
        """Add a node that reads the last tensor, then ``inputs``; return its result."""
        return self._append(operator, [self.tensor, *inputs], attributes)

    def _append(self, operator: str, inputs: list[str], attributes: dict[str, Any]) -> str:
        result = f"cutout.{self.tensor.removeprefix('cutout.').split('#')[0]}#{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [result], name=f"{result}_node", **attributes))
        self.tensor = result
        return result

    def constant(self, values: NDArray[Any]) -> str:
        """Store a tensor and return its name."""
        name = f"cutout.constant.{self.tensor.removeprefix('cutout.')}.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def reduce(self, operator: str, opset: int) -> str:
        """Return the name of each picture's smallest or largest value, (N, 1, 1, 1)."""
        last = self.tensor
        if opset >= REDUCE_BY_INPUT_OPSET:
            name = self.add(operator, self.constant(np.array([1, 2, 3], np.int64)), keepdims=1)
        else:
            name = self.add(operator, axes=[1, 2, 3], keepdims=1)
        self.tensor = last
        return name

    def number(self, value: float) -> str:
        """Store a float32 and return its name."""
        return self.constant(np.array(value, np.float32))


def wrap(
    model: onnx.ModelProto,
    anatomy: Anatomy,
    preprocessing: Preprocessing,
    *,
    size: tuple[int, int],
    output: MapShape,
    batch: int | None,
) -> bytes:
    """Return a model with the serving contract; two calls with equal arguments return equal bytes.

    Args:
        model: The network; it is not changed.
        anatomy: What was read off it.
        preprocessing: The authors'.
        size: (height, width) of the network's input; S is the larger one.
        output: The shape of its map.
        batch: The fixed batch size, or None for a variable one.
    """
    side_px = max(size)
    network = onnx.ModelProto()
    network.CopyFrom(model)
    stored = {tensor.name for tensor in network.graph.initializer}
    inputs = [value for value in network.graph.input if value.name not in stored]
    del network.graph.input[:]
    network.graph.input.extend(inputs)
    _add_prefix(network.graph)
    before = _before(anatomy, preprocessing, size, side_px)
    after = _after(anatomy, preprocessing, output, side_px)
    before.nodes[-1].output[0] = PREFIX + anatomy.input.name
    axis = BATCH_AXIS if batch is None else batch
    graph = helper.make_graph(
        [*before.nodes, *network.graph.node, *after.nodes],
        "served",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [axis, side_px, side_px, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [axis, side_px, side_px])],
        [*network.graph.initializer, *before.constants, *after.constants],
    )
    served = helper.make_model(
        graph, opset_imports=network.opset_import, ir_version=max(network.ir_version, MIN_IR_VERSION)
    )
    del served.metadata_props[:]
    return bytes(served.SerializeToString(deterministic=True))


def _add_prefix(network: onnx.GraphProto) -> None:
    """Rename everything in a graph and its subgraphs alike, so that names of the wrapping are free.

    A subgraph may read what the graphs around it store or compute, which ``onnx.compose`` overlooks in part.
    """

    def prefixed(name: str) -> str:
        return PREFIX + name if name else name  # an empty name stands for an absent input

    for graph in [*graphs_of(network)]:
        for node in graph.node:
            node.name = prefixed(node.name)
            node.input[:] = [prefixed(name) for name in node.input]
            node.output[:] = [prefixed(name) for name in node.output]
        for named in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            named.name = prefixed(named.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = prefixed(sparse.values.name)


def _before(anatomy: Anatomy, preprocessing: Preprocessing, size: tuple[int, int], side_px: int) -> _Chain:
    """Return the nodes from the served input to the network's."""
    nodes = _Chain(INPUT_NAME)
    nodes.add("Cast", to=TensorProto.FLOAT)
    if preprocessing.order == "bgr":
        nodes.add("Gather", nodes.constant(np.array([2, 1, 0], np.int64)), axis=3)
    if size != (side_px, side_px):
        _require_resize(anatomy.opset)
        nodes.add("Transpose", perm=_TO_CHANNELS_FIRST)
        _resize(nodes, (side_px, side_px), size)
        nodes.add("Transpose", perm=_TO_CHANNELS_LAST)
    if anatomy.input.kind == "uint8":  # such a graph contains its own normalisation
        nodes.add("Cast", to=TensorProto.UINT8)
    else:
        _normalise(nodes, preprocessing, anatomy.opset)
    if anatomy.input.kind == "float16":
        nodes.add("Cast", to=TensorProto.FLOAT16)
    if anatomy.input.layout == "NCHW":
        nodes.add("Transpose", perm=_TO_CHANNELS_FIRST)
    else:
        nodes.add("Identity")
    return nodes


def _normalise(nodes: _Chain, preprocessing: Preprocessing, opset: int) -> None:
    if preprocessing.scale == OWN_MAXIMUM:
        _divide_by_at_least_one(nodes, nodes.reduce("ReduceMax", opset))
    elif preprocessing.scale == OWN_RANGE:
        nodes.add("Sub", nodes.reduce("ReduceMin", opset))
        _divide_by_at_least_one(nodes, nodes.reduce("ReduceMax", opset))
    else:
        nodes.add("Div", nodes.number(preprocessing.divisor))
    nodes.add("Sub", nodes.constant(np.array(preprocessing.mean, np.float32)))
    nodes.add("Div", nodes.constant(np.array(preprocessing.std, np.float32)))


def _divide_by_at_least_one(nodes: _Chain, divisor: str) -> None:
    """Divide by a value of each picture; a black picture has the maximum 0 and stays black."""
    picture = nodes.tensor
    nodes.tensor = divisor
    limited = nodes.add("Max", nodes.number(1.0))
    nodes.tensor = picture
    nodes.add("Div", limited)


def _after(anatomy: Anatomy, preprocessing: Preprocessing, output: MapShape, side_px: int) -> _Chain:
    """Return the nodes from the network's output to the served one."""
    served = anatomy.outputs[preprocessing.output]
    nodes = _Chain(PREFIX + served.name)
    nodes.add("Cast", to=TensorProto.FLOAT)
    if preprocessing.channel is not None:
        if not output.is_channels_last:
            nodes.add("Transpose", perm=_TO_CHANNELS_LAST)
        if not output.is_softmax:
            nodes.add("Softmax", axis=3)
        nodes.add("Gather", nodes.constant(np.array(preprocessing.channel, np.int64)), axis=3)
    elif preprocessing.activation == SIGMOID:
        nodes.add("Sigmoid")
    nodes.add("Max", nodes.number(0.0))
    nodes.add("Min", nodes.number(1.0))
    if preprocessing.is_inverted:
        one = nodes.number(1.0)
        nodes.add("Neg")
        nodes.add("Add", one)
    if (output.height, output.width) != (side_px, side_px):
        _require_resize(anatomy.opset)
        shape = np.array([-1, 1, output.height, output.width], np.int64)
        nodes.add("Reshape", nodes.constant(shape))
        _resize(nodes, (output.height, output.width), (side_px, side_px))
    nodes.add("Reshape", nodes.constant(np.array([-1, side_px, side_px], np.int64)))
    nodes.nodes[-1].output[0] = OUTPUT_NAME
    return nodes


def _resize(nodes: _Chain, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Resize bilinearly without antialiasing, as OpenCV does, along the axes whose size differs."""
    scales = [resize_scale(b, a) for b, a in zip(before, after, strict=True)]
    none = nodes.constant(np.zeros(0, np.float32))
    nodes.add(
        "Resize",
        none,
        nodes.constant(np.array([1.0, 1.0, *scales], np.float32)),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def resize_scale(before: int, after: int) -> float:
    """Return the smallest float32 by which the runtime, which rounds down, computes ``after``."""
    scale = np.float32(after / before)
    while int(scale * np.float32(before)) < after:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def _require_resize(opset: int) -> None:
    if opset < RESIZE_OPSET:
        raise GraphRefused(
            f"The graph has opset {opset}, and its sizes need a resize of opset {RESIZE_OPSET}. "
            f"Export it again with opset {RESIZE_OPSET} or newer."
        )

"""Quantise: a float32 graph and the ranges of its tensors become an int8 graph with the same contract.

The graph is written in ONNX's QDQ form: every 8-bit tensor is followed by QuantizeLinear and
DequantizeLinear, and the runtime fuses them into integer convolutions. Poolings and concatenations work on
the 8-bit tensors themselves; a resize computes in float32 between them, because ONNX Runtime's on integers
is slower and rounds down, which darkens every map a little. Weights are int8, symmetric, one scale
a channel; activations uint8 with one scale and zero point a tensor; biases int32.

Rule 1: only convolutions decide. A layer is quantised unless it is in an island; poolings, resizes and
concatenations are in 8 bits where a quantised layer reads them, with one scale for inputs and output.
Rule 2: a ReLU before 8 bits is left out: its range begins at 0, so the integers end there too.

The graph is written here and not by onnxruntime.quantization, for full control of two things: a concatenation
has one scale with all its inputs, so that nothing converts between them, and two exports are equal byte for
byte.

References:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, arXiv:1712.05877.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from model_export.graph_layers import PASSIVE, GraphLayers, data_inputs, read_layers
from model_export.ranges import RangesInvalid

LEVELS = 255  # steps of a uint8 activation
WEIGHT_LIMIT = 127  # int8 without -128, so that it is symmetric
DIRECT = frozenset({"MaxPool", "Concat"})
BIAS_LIMIT = 2**30  # of int32, with room for the sum of products
SHRINKAGE = np.linspace(1.0, 0.8, 9)
"""Candidates for a channel's largest weight, as shares of the real one; the least squared error decides."""
Scale = tuple[float, int]


def quantise(
    model_bytes: bytes,
    activations: Mapping[str, tuple[float, float]],
    *,
    islands: Collection[str],
) -> bytes:
    """Return an int8 graph.

    Two calls with equal arguments return equal bytes.

    Args:
        model_bytes: An exported float32 graph; batch normalisations are folded.
        activations: Smallest and largest value by layer or tensor, as in ``Ranges``.
        islands: Layers that stay in float32.

    Raises:
        RangesInvalid: The ranges or the islands belong to another network.
    """
    model = onnx.load_from_string(model_bytes)
    found = read_layers(model.graph)
    if unknown := sorted(set(islands) - set(found.layers)):
        raise RangesInvalid(f"The network has no layers {unknown} to keep in float32.")
    chosen = [name for name in found.layers if name not in islands]
    eight_bit = _eight_bit_nodes(model.graph, found, chosen)
    scales = _scales(found, eight_bit, activations)
    _Rewriter(model.graph, found, eight_bit, scales).rewrite()
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def graph_digest(model_bytes: bytes) -> str:
    """Return the SHA-256 of a model's graph, without the versions of the programs that wrote it."""
    graph = onnx.load_from_string(model_bytes).graph
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


def quantise_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a kernel, one scale a channel.

    Args:
        weight: (out, in, height, width) float32.

    Returns:
        (out, in, height, width) int8 in [-127, 127], and (out,) float32 scales. A channel's largest weights
        are clipped if that makes the squared error of the channel less.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = 1.0
    best = np.full(len(rows), np.inf)
    scales = np.empty(len(rows), np.float32)
    for share in SHRINKAGE:
        candidate = (share * largest / WEIGHT_LIMIT).astype(np.float32)
        error = ((_rounded(rows, candidate) * candidate[:, None] - rows) ** 2).sum(axis=1)
        better = error < best
        best[better], scales[better] = error[better], candidate[better]
    return _rounded(rows, scales).astype(np.int8).reshape(weight.shape), scales


def _rounded(rows: NDArray[np.float64], scales: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(np.rint(rows / scales[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)


def _eight_bit_nodes(graph: onnx.GraphProto, found: GraphLayers, chosen: Collection[str]) -> set[str]:
    """Return the names of the nodes that run in 8 bits."""
    eight_bit = {found.layers[name].conv.name for name in chosen}
    for node in reversed(graph.node):  # a node's readers are decided before it
        wanted = any(reader.name in eight_bit for reader in found.consumers[node.output[0]])
        if wanted and node.op_type in PASSIVE:
            eight_bit.add(node.name)
    made = {layer.output for name, layer in found.layers.items() if name in chosen}
    for node in graph.node:
        if node.op_type == "Add" and all(name in made for name in node.input):
            eight_bit.add(node.name)
        if node.name in eight_bit:
            made.update(node.output)
    return eight_bit


def _scales(
    found: GraphLayers, eight_bit: Collection[str], activations: Mapping[str, tuple[float, float]]
) -> dict[str, Scale]:
    """Return scale and zero point of every 8-bit tensor; tensors around a passive node share theirs."""
    group: dict[str, str] = {}

    def root(tensor: str) -> str:
        while group.setdefault(tensor, tensor) != tensor:
            tensor = group[tensor]
        return tensor

    nodes = {node.name: node for node in found.producers.values() if node.name in eight_bit}
    relus = {layer.conv.name: layer.output for layer in found.layers.values()}
    for node in nodes.values():
        output = root(relus.get(node.name, node.output[0]))
        for tensor in data_inputs(node):
            if node.op_type in PASSIVE:
                group[root(tensor)] = root(output)
            else:
                root(tensor)
    bounds: dict[str, tuple[float, float]] = {}
    for tensor in list(group):
        producer = found.producers.get(tensor)
        if producer is not None and producer.op_type in PASSIVE:
            continue
        label = found.label(tensor)
        if label not in activations:
            raise RangesInvalid(f"There is no range of {label}: the ranges belong to another network.")
        low, high = bounds.get(root(tensor), (0.0, 0.0))
        bounds[root(tensor)] = min(low, activations[label][0]), max(high, activations[label][1])
    return {tensor: _scale(*bounds[root(tensor)]) for tensor in group}


def _scale(low: float, high: float) -> Scale:
    """Return scale and zero point of a range that contains 0."""
    scale = float(np.float32(max(high - low, 1e-6) / LEVELS))
    return scale, round(-low / scale)


class _Rewriter:
    """Writes the nodes of a quantised graph."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        found: GraphLayers,
        eight_bit: Collection[str],
        scales: Mapping[str, Scale],
    ) -> None:
        self._graph, self._found = graph, found
        self._eight_bit, self._scales = eight_bit, scales
        self._layers = {
            layer.conv.name: layer for layer in found.layers.values() if layer.conv.name in eight_bit
        }
        self._relus = {layer.relu.name for layer in self._layers.values() if layer.relu is not None}
        self._made = {self._output(node) for node in graph.node if node.name in eight_bit}

    def _output(self, node: onnx.NodeProto) -> str:
        return self._layers[node.name].output if node.name in self._layers else str(node.output[0])

    def rewrite(self) -> None:
        """Replace the graph's nodes and weights."""
        constants = {tensor.name: tensor for tensor in self._graph.initializer}
        nodes = [new for node in self._graph.node for new in self._rewritten(node, constants)]
        read = {name for node in nodes for name in node.input} | {each.name for each in self._graph.output}
        nodes = [node for node in nodes if read.intersection(node.output)]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensor for name, tensor in constants.items() if name in read)

    def _rewritten(
        self, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
    ) -> Iterator[onnx.NodeProto]:
        if node.name in self._relus:
            return
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        is_direct = node.op_type in DIRECT and node.name in self._eight_bit
        for number, name in enumerate(node.input):
            if is_direct and name in self._scales:
                copy.input[number] = f"{name}_quantised"
            elif name in self._scales and (node.name in self._eight_bit or name in self._made):
                copy.input[number] = f"{name}_dequantised"
        if node.name in self._layers:
            yield from self._dequantised_parameters(copy, node.input[0], constants)
        output = self._output(node)
        copy.output[0] = f"{output}_quantised" if is_direct else output
        yield copy
        if output in self._scales:
            yield from self._conversions(output, constants, from_float=not is_direct)

    def _conversions(
        self, name: str, constants: dict[str, onnx.TensorProto], *, from_float: bool
    ) -> Iterator[onnx.NodeProto]:
        """Yield the QuantizeLinear after a tensor of a node in float32, and the DequantizeLinear."""
        scale, zero_point = self._scales[name]
        scale_name, zero_name = f"scale_{scale!r}", f"zero_{zero_point}"
        constants[scale_name] = numpy_helper.from_array(np.float32(scale), scale_name)
        constants[zero_name] = numpy_helper.from_array(np.uint8(zero_point), zero_name)
        eight_bit, dequantised = f"{name}_quantised", f"{name}_dequantised"
        if from_float:
            inputs = [name, scale_name, zero_name]
            yield helper.make_node("QuantizeLinear", inputs, [eight_bit], name=f"{eight_bit}_node")
        inputs = [eight_bit, scale_name, zero_name]
        yield helper.make_node("DequantizeLinear", inputs, [dequantised], name=f"{dequantised}_node")

    def _dequantised_parameters(
        self, conv: onnx.NodeProto, features: str, constants: dict[str, onnx.TensorProto]
    ) -> Iterator[onnx.NodeProto]:
        """Yield the DequantizeLinear of a layer's kernel and bias, and let the convolution read them."""
        weight_name, bias_name = conv.input[1], conv.input[2]
        weight, scales = quantise_weight(numpy_helper.to_array(constants[weight_name]))
        bias = numpy_helper.to_array(constants[bias_name]).astype(np.float64)
        bias_scales = (scales * np.float32(self._scales[features][0])).astype(np.float32)
        rounded = np.clip(np.rint(bias / bias_scales), -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
        for position, name, values, each_scale in (
            (1, weight_name, weight, scales),
            (2, bias_name, rounded, bias_scales),
        ):
            stored, scale_name = f"{name}_quantised", f"{name}_scale"
            constants[stored] = numpy_helper.from_array(values, stored)
            constants[scale_name] = numpy_helper.from_array(each_scale, scale_name)
            conv.input[position] = f"{name}_dequantised"
            inputs = [stored, scale_name]
            yield helper.make_node(
                "DequantizeLinear", inputs, [conv.input[position]], name=f"{stored}_node", axis=0
            )

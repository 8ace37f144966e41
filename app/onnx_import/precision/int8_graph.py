"""Int8 graph: writes the nodes of a quantised graph in ONNX's QDQ form.

Every 8-bit tensor ``x`` is made as ``x_quantised``, and read as such or, by the nodes that the runtime fuses
to integer convolutions, as ``x_dequantised``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.onnx_import.precision.graph_layers import GraphLayers, Layer
from app.onnx_import.precision.int8_head import EightBit, is_head, write_logits
from app.onnx_import.precision.int8_resize import doubles, write_doubling
from app.onnx_import.precision.int8_weights import BIAS_LIMIT, mean_loss, quantise_weight
from app.onnx_import.precision.node_writer import NodeWriter, Scale

LEVELS = 255  # steps of a uint8 activation
ROUNDING = 1e-4
"""Ranges are kept with five digits."""
DIRECT = frozenset({"MaxPool", "Concat"})
"""Operators that work on the 8-bit tensors themselves."""


class Int8Graph:
    """Replaces the nodes of a float32 graph by those of an int8 graph.

    Args:
        model: The model; ``write`` changes it.
        found: Its layers.
        eight_bit: The names of the nodes that run in 8 bits.
        scales: Scale and zero point of every 8-bit tensor.
        means: The mean of each channel that a layer reads.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        found: GraphLayers,
        eight_bit: Collection[str],
        scales: Mapping[str, Scale],
        means: Mapping[str, Sequence[float]],
    ) -> None:
        self._graph, self._shapes = model.graph, _shapes(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._eight_bit, self._scales = eight_bit, scales
        self._layers = {
            layer.conv.name: layer if _saturates(layer, scales[layer.output]) else replace(layer, clamp=None)
            for layer in found.layers.values()
            if layer.conv.name in eight_bit
        }
        self._means = {layer.conv.name: means[name] for name, layer in found.layers.items()}
        self._clamps = {layer.clamp.name for layer in self._layers.values() if layer.clamp is not None}
        self._made = {self._output(node) for node in model.graph.node if node.name in eight_bit}

    def _output(self, node: onnx.NodeProto) -> str:
        return self._layers[node.name].output if node.name in self._layers else str(node.output[0])

    def write(self) -> None:
        """Replace the graph's nodes and weights."""
        nodes = [new for node in self._graph.node for new in self._rewritten(node)]
        needed = {each.name for each in self._graph.output}
        used: list[onnx.NodeProto] = []
        for node in reversed(nodes):  # every user comes after what it uses
            if needed.intersection(node.output):
                needed.update(node.input)
                used.append(node)
        del self._graph.value_info[:]  # it has tensors that are gone
        del self._graph.node[:]
        self._graph.node.extend(reversed(used))
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensor for name, tensor in self._constants.items() if name in needed)

    def _rewritten(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        if node.name in self._clamps:
            return
        if self._is_doubling(node):
            yield from self._doubling(node)
            return
        if self._is_head(node):
            yield from self._head(node)
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
            yield from self._dequantised_parameters(copy, node.input[0])
        output = self._output(node)
        copy.output[0] = f"{output}_quantised" if is_direct else output
        yield copy
        if output in self._scales:
            yield from self._conversions(output, from_float=not is_direct)

    def _is_doubling(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Resize" or node.name not in self._eight_bit:
            return False
        before, after = self._shapes.get(node.input[0]), self._shapes.get(node.output[0])
        return before is not None and after is not None and doubles(node, before, after)

    def _doubling(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        features, output = node.input[0], node.output[0]
        writer = NodeWriter(self._constants, output)
        _, channels, height, width = self._shapes[features]
        scale, shape = self._scales[features], (channels, height, width)
        write_doubling(writer, f"{features}_quantised", scale, shape, f"{output}_quantised")
        yield from writer.nodes
        yield from self._conversions(output, from_float=False)

    def _is_head(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is a layer in float32 with one output channel that reads 8 bits."""
        if node.op_type != "Conv" or node.name in self._eight_bit or node.input[0] not in self._scales:
            return False
        if node.name not in self._means:
            return False
        return is_head(node, self._values(node.input[1]))

    def _head(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        writer = NodeWriter(self._constants, node.output[0])
        kernel, bias = self._values(node.input[1]), self._values(node.input[2])
        source = EightBit(f"{node.input[0]}_quantised", self._scales[node.input[0]], self._means[node.name])
        write_logits(writer, source, kernel, bias, node.output[0])
        return writer.nodes

    def _values(self, name: str) -> NDArray[np.float32]:
        values: NDArray[np.float32] = numpy_helper.to_array(self._constants[name])
        return values

    def _conversions(self, name: str, *, from_float: bool) -> list[onnx.NodeProto]:
        """Return the QuantizeLinear after a tensor of a node in float32, and the DequantizeLinear."""
        writer = NodeWriter(self._constants, name)
        scale = writer.scale(self._scales[name])
        if from_float:
            writer.write("QuantizeLinear", [name, *scale], f"{name}_quantised")
        writer.write("DequantizeLinear", [f"{name}_quantised", *scale], f"{name}_dequantised")
        return writer.nodes

    def _dequantised_parameters(self, conv: onnx.NodeProto, features: str) -> Iterator[onnx.NodeProto]:
        """Yield the DequantizeLinear of a layer's kernel and bias, and let the convolution read them."""
        weight_name, bias_name = conv.input[1], conv.input[2]
        kernel = self._values(weight_name)
        weight, scales = quantise_weight(kernel)
        bias = self._values(bias_name) + mean_loss(kernel, (weight, scales), self._means[conv.name])
        bias_scales = (scales * np.float32(self._scales[features][0])).astype(np.float32)
        rounded = np.clip(np.rint(bias / bias_scales), -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
        for position, name, values, each_scale in (
            (1, weight_name, weight, scales),
            (2, bias_name, rounded, bias_scales),
        ):
            stored, scale_name = f"{name}_quantised", f"{name}_scale"
            self._constants[stored] = numpy_helper.from_array(values, stored)
            self._constants[scale_name] = numpy_helper.from_array(each_scale, scale_name)
            conv.input[position] = f"{name}_dequantised"
            inputs = [stored, scale_name]
            yield helper.make_node(
                "DequantizeLinear", inputs, [conv.input[position]], name=f"{stored}_node", axis=0
            )


def _saturates(layer: Layer, scale: Scale) -> bool:
    """Return whether the integers of a layer's output end where its clamp does."""
    return scale[1] == 0 and LEVELS * scale[0] <= layer.limit * (1 + ROUNDING)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor between nodes; a dynamic axis is 0."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return {
        tensor.name: tuple(axis.dim_value for axis in tensor.type.tensor_type.shape.dim)
        for tensor in inferred.graph.value_info
    }

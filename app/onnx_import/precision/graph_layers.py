"""Graph layers: reads the convolutions of an exported graph by the names of their layers.

A layer is named as in the PyTorch network, ``encoder.0.entry`` or ``sides.2``. The names of other tensors
have numbers that depend on the exporter.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

PASSIVE = frozenset({"MaxPool", "Resize", "Concat"})
"""Operators whose results lie within the range of their inputs, so that all can share one scale."""
KERNEL_AXES = 4
"""(out, in, height, width)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution with the clamp that follows it, a ReLU or a Clip from 0, if one does.

    ``output`` is the tensor after the clamp, which is at most ``limit``; ``weight`` and ``bias`` are names of
    initialisers.
    """

    name: str
    conv: onnx.NodeProto
    clamp: onnx.NodeProto | None
    limit: float = np.inf

    @property
    def output(self) -> str:
        """The tensor that the layer makes."""
        return str((self.clamp or self.conv).output[0])

    @property
    def weight(self) -> str:
        """The name of the kernel, (out, in, height, width)."""
        return str(self.conv.input[1])

    @property
    def bias(self) -> str:
        """The name of the bias, (out,)."""
        return str(self.conv.input[2])


@dataclass(frozen=True, slots=True)
class GraphLayers:
    """The layers of a graph by name, in the order of execution, and who makes and who reads each tensor.

    ``constants`` are the names of stored tensors.
    """

    layers: dict[str, Layer]
    producers: dict[str, onnx.NodeProto]
    consumers: dict[str, list[onnx.NodeProto]]
    constants: frozenset[str]

    def is_passive(self, node: onnx.NodeProto) -> bool:
        """Return whether a node's result lies within the range of its inputs, none of which is stored."""
        return node.op_type in PASSIVE and self.constants.isdisjoint(data_inputs(node))

    def label(self, tensor: str) -> str:
        """Return the name of the layer that makes a tensor, or the tensor's own name."""
        return {layer.output: name for name, layer in self.layers.items()}.get(tensor, tensor)


def read_layers(graph: onnx.GraphProto) -> GraphLayers:
    """Return the layers of a graph: its convolutions of maps, whose kernels and biases are stored."""
    consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    producers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
        for name in node.output:
            producers[name] = node
    layers: dict[str, Layer] = {}
    numbers = {tensor.name: tensor for tensor in graph.initializer if not tensor.dims}
    kernels = {tensor.name for tensor in graph.initializer if len(tensor.dims) == KERNEL_AXES}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in kernels and len(node.input) == 3:
            after = consumers[node.output[0]]
            limit = _limit_of(after[0], numbers) if len(after) == 1 else None
            name = layer_name(node.input[1])
            layers[name] = Layer(name, node, None) if limit is None else Layer(name, node, after[0], limit)
    constants = frozenset(tensor.name for tensor in graph.initializer)
    return GraphLayers(layers, producers, consumers, constants)


def _limit_of(node: onnx.NodeProto, numbers: Mapping[str, onnx.TensorProto]) -> float | None:
    """Return the largest value that a clamp from 0 lets through; None of any other operator."""
    if node.op_type == "Relu":
        return np.inf
    limits = [name for name in node.input[1:] if name]
    if node.op_type != "Clip" or not limits or node.input[1] != limits[0] or not set(limits) <= set(numbers):
        return None
    values = [float(numpy_helper.to_array(numbers[name])) for name in limits]
    return None if values[0] != 0 else (values[1] if len(values) == 2 else np.inf)


def layer_name(weight: str) -> str:
    """Return the layer's name from its kernel's, ``network.encoder.0.entry.conv.weight``."""
    return weight.removeprefix("network.").removesuffix(".weight").removesuffix(".conv")


def observed_tensors(found: GraphLayers) -> dict[str, str]:
    """Return the tensors whose ranges a quantised graph needs, by label.

    These are the layers' outputs, sums, and what else a convolution reads that no passive operator made.
    """
    tensors = {name: layer.output for name, layer in found.layers.items()}
    made = set(tensors.values())
    for layer in found.layers.values():
        pending = [layer.conv.input[0]]
        while pending:
            tensor = pending.pop()
            producer = found.producers.get(tensor)
            if producer is not None and found.is_passive(producer):
                pending.extend(data_inputs(producer))
            elif tensor not in made:
                made.add(tensor)
                tensors[tensor] = tensor
    return tensors


def data_inputs(node: onnx.NodeProto) -> list[str]:
    """Return the inputs of a node that hold features; a Resize reads its scales as well."""
    return list(node.input) if node.op_type in ("Concat", "Add") else list(node.input[:1])

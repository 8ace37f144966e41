"""Quantise: a float32 graph and the ranges of its tensors become an int8 graph with the same contract.

The graph is written in ONNX's QDQ form: every 8-bit tensor is followed by QuantizeLinear and
DequantizeLinear, and the runtime fuses them into integer convolutions. Poolings, concatenations and resizes
work on the 8-bit tensors themselves (``int8_resize``), the first layer on the picture's bytes
(``int8_entry``). Weights are int8, symmetric, one scale a channel; activations uint8 with one scale and zero
point a tensor; biases int32, corrected by what the rounding of the weights changes in the mean.

Rule 1: only convolutions decide. A layer is quantised unless it is in an island; poolings, resizes and
concatenations are in 8 bits where a quantised layer reads them, with one scale for inputs and output.
Rule 2: a ReLU or a Clip before 8 bits is left out where the range of the integers ends as it does; a
concatenation may give the tensor a wider range.

The graph is written here and not by onnxruntime.quantization, for full control of two things: a concatenation
has one scale with all its inputs, so that nothing converts between them, and two exports are equal byte for
byte.

References:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, arXiv:1712.05877.
    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
    arXiv:1906.04721 (the correction of biases).
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from app.onnx_import.precision.graph_layers import GraphLayers, data_inputs, read_layers
from app.onnx_import.precision.int8_entry import fold_normalisation
from app.onnx_import.precision.int8_graph import LEVELS, Int8Graph
from app.onnx_import.precision.node_writer import Scale
from app.onnx_import.refusal import GraphRefused


class RangesMismatch(GraphRefused):
    """The ranges or the islands belong to another network."""


def quantise(
    model_bytes: bytes,
    activations: Mapping[str, tuple[float, float]],
    means: Mapping[str, Sequence[float]],
    *,
    islands: Collection[str],
) -> bytes:
    """Return an int8 graph.

    Two calls with equal arguments return equal bytes.

    Args:
        model_bytes: An exported float32 graph; batch normalisations are folded.
        activations: Smallest and largest value by layer or tensor, as in ``Ranges``.
        means: The mean of each channel that a layer reads, by layer, as in ``Ranges``.
        islands: Layers that stay in float32.

    Raises:
        RangesMismatch: The ranges or the islands belong to another network.
    """
    model = onnx.load_from_string(model_bytes)
    found = read_layers(model.graph)
    if unknown := sorted(set(islands) - set(found.layers)):
        raise RangesMismatch(f"The network has no layers {unknown} to keep in float32.")
    chosen = [name for name in found.layers if name not in islands]
    if missing := [name for name in found.layers if name not in means]:
        raise RangesMismatch(f"There are no means of {missing}: the ranges belong to another network.")
    fold_normalisation(model.graph)
    found = read_layers(model.graph)
    eight_bit = _eight_bit_nodes(model.graph, found, chosen, activations)
    scales = _scales(found, eight_bit, activations)
    Int8Graph(model, found, eight_bit, scales, means).write()
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def graph_digest(model_bytes: bytes) -> str:
    """Return the SHA-256 of a model's graph, without the versions of the programs that wrote it."""
    graph = onnx.load_from_string(model_bytes).graph
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


def _eight_bit_nodes(
    graph: onnx.GraphProto, found: GraphLayers, chosen: Collection[str], known: Collection[str]
) -> set[str]:
    """Return the names of the nodes that run in 8 bits; a sum does if the ranges of its tensors are known."""
    eight_bit = {found.layers[name].conv.name for name in chosen}
    for node in reversed(graph.node):  # a node's readers are decided before it
        readers = found.consumers[node.output[0]]
        wanted = any(each.name in eight_bit and node.output[0] in data_inputs(each) for each in readers)
        if wanted and found.is_passive(node):
            eight_bit.add(node.name)
    made = {layer.output for name, layer in found.layers.items() if name in chosen}
    for node in graph.node:
        tensors = (*node.input, *node.output)
        is_known = all(name in made or found.label(name) in known for name in tensors)
        if node.op_type == "Add" and is_known and any(name in made for name in node.input):
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
    clamped = {layer.conv.name: layer.output for layer in found.layers.values()}
    for node in nodes.values():
        output = root(clamped.get(node.name, node.output[0]))
        for tensor in data_inputs(node):
            if found.is_passive(node):
                group[root(tensor)] = root(output)
            else:
                root(tensor)
    bounds: dict[str, tuple[float, float]] = {}
    for tensor in list(group):
        producer = found.producers.get(tensor)
        if producer is not None and found.is_passive(producer) and producer.name in eight_bit:
            continue
        label = found.label(tensor)
        if label not in activations:
            raise RangesMismatch(f"There is no range of {label}: the ranges belong to another network.")
        low, high = bounds.get(root(tensor), (0.0, 0.0))
        bounds[root(tensor)] = min(low, activations[label][0]), max(high, activations[label][1])
    return {tensor: _scale(*bounds[root(tensor)]) for tensor in group}


def _scale(low: float, high: float) -> Scale:
    """Return scale and zero point of a range that contains 0."""
    scale = float(np.float32(max(high - low, 1e-6) / LEVELS))
    return scale, round(-low / scale)

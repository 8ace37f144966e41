"""Batch axis: makes the first axis of a graph's input variable, where exporters fixed it to one picture.

Apart from the input's shape, exporters write the batch into constants: the shapes of reshapes and the sizes
of resizes. Those that are constant are rewritten. Whether the result is right is proved by running it
(``trial.py``); a graph that computes otherwise in a batch keeps its fixed axis.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

BATCH_AXIS = "batch"


def free_batch_axis(model: onnx.ModelProto, input_name: str) -> onnx.ModelProto:
    """Return a copy of a model whose batch axis is variable, as far as the graph allows it.

    Args:
        model: A model for one picture; it is not changed.
        input_name: The name of its input.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    for value in (*graph.input, *graph.output):
        if value.name == input_name or value in graph.output:
            _free_first(value)
    del graph.value_info[:]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: _tensor_of(node.attribute[0])
        for node in graph.node
        if node.op_type == "Constant"
        and [each.name for each in node.attribute] in (["value"], ["value_ints"])
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Reshape" and node.input[0] not in constants:
            _free_reshape(copy, constants, graph)
        elif node.op_type == "Resize" and len(node.input) == 4 and node.input[3] in constants:
            nodes += _free_resize(copy, constants, graph)
        nodes.append(copy)
    del graph.node[:]
    graph.node.extend(nodes)
    return freed


def _tensor_of(attribute: onnx.AttributeProto) -> onnx.TensorProto:
    if attribute.name == "value":
        return attribute.t
    return numpy_helper.from_array(np.array(attribute.ints, np.int64))


def _free_first(value: onnx.ValueInfoProto) -> None:
    axes = value.type.tensor_type.shape.dim
    if axes:
        axes[0].ClearField("dim_value")
        axes[0].dim_param = BATCH_AXIS


def _free_reshape(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> None:
    """Let a reshape to a constant (1, ...) keep the batch: 0 copies the axis from the input."""
    tensor = constants.get(node.input[1])
    if tensor is None or any(each.name == "allowzero" and each.i for each in node.attribute):
        return
    shape = numpy_helper.to_array(tensor).copy()
    if shape.ndim == 1 and len(shape) > 1 and shape[0] == 1:
        shape[0] = 0
        node.input[1] = f"cutout.shape.{node.output[0]}"
        graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))


def _free_resize(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """Let a resize to a constant (1, ...) take the batch from its input."""
    sizes = numpy_helper.to_array(constants[node.input[3]])
    if sizes.ndim != 1 or len(sizes) < 2 or sizes[0] != 1:
        return []
    prefix = f"cutout.sizes.{node.output[0]}"
    names = [f"{prefix}.{part}" for part in ("shape", "zero", "batch", "rest", "all")]
    shape, zero, batch, rest, everything = names
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), zero))
    graph.initializer.append(numpy_helper.from_array(sizes[1:].astype(np.int64), rest))
    features = node.input[0]
    node.input[3] = everything
    return [
        helper.make_node("Shape", [features], [shape], name=f"{shape}_node"),
        helper.make_node("Gather", [shape, zero], [batch], name=f"{batch}_node", axis=0),
        helper.make_node("Concat", [batch, rest], [everything], name=f"{everything}_node", axis=0),
    ]

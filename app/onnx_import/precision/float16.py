"""Float16: a float32 graph becomes one for GPUs, in half precision, with the same contract.

Everything from the first convolution to the logits is in half precision. The normalisation before, which
divides colours, and the sigmoid after are in float32. onnxruntime.transformers.float16 is not used: it rounds
to half precision between the operators that should stay in float32.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.precision.graph_layers import data_inputs

HALF_OPERATORS = frozenset({"Conv", "Relu", "MaxPool", "Resize", "Concat", "Add"})


def to_float16(model_bytes: bytes) -> bytes:
    """Return an fp16 graph; two calls with equal arguments return equal bytes."""
    model = onnx.load_from_string(model_bytes)
    graph = model.graph
    half: dict[str, bool] = {}  # which precision a tensor was made in
    nodes: list[onnx.NodeProto] = []
    parameters: set[str] = set()
    stored = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        features = data_inputs(node)
        if node.op_type == "Conv":
            in_half = node.input[1] in stored
        else:
            are_made = all(name in half for name in features)
            in_half = node.op_type in HALF_OPERATORS and are_made and half[features[0]]
        for number, name in enumerate(node.input):
            # A node in half precision may also read a size, which stays what it is.
            if name in half and half[name] != in_half and (name in features or not in_half):
                nodes += _cast(name, nodes, to_half=in_half)
                node.input[number] = _cast_name(name, to_half=in_half)
        if in_half and node.op_type == "Conv":
            parameters.update(node.input[1:])
        half.update(dict.fromkeys(node.output, in_half))
        nodes.append(node)
    for tensor in graph.initializer:
        if tensor.name in parameters:
            with np.errstate(over="ignore"):  # a graph with infinite weights is refused when it is judged
                values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    del graph.value_info[:]  # it has the former precision
    copies = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _cast(name: str, nodes: list[onnx.NodeProto], *, to_half: bool) -> list[onnx.NodeProto]:
    """Return the node that casts a tensor, or nothing if there is one already."""
    output = _cast_name(name, to_half=to_half)
    if any(output in node.output for node in nodes):
        return []
    kind = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
    return [helper.make_node("Cast", [name], [output], name=f"{output}_node", to=kind)]


def _cast_name(name: str, *, to_half: bool) -> str:
    return f"{name}_half" if to_half else f"{name}_float"


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy

"""Simplify: removes from an exported graph everything that only the exporter needed.

It removes the exporter's metadata (stack traces with paths of this machine), which would make two exports of
one model differ; the arithmetic on shapes, which a dynamic batch axis adds to every resize although only the
batch is dynamic; and the nodes and parameters that are unused afterwards.
"""

import numpy as np
import onnx
from onnx import numpy_helper

PRODUCER = "cutout"


def simplify(model: onnx.ModelProto, *, graph_name: str) -> onnx.ModelProto:
    """Return a smaller graph that computes the same numbers.

    Args:
        model: A checked model in which only the batch axis of a tensor is dynamic. It is not changed.
        graph_name: The name of the graph.

    Returns:
        A new model: resizes by whole factors use constant scales, and every node, tensor and parameter is
        needed for an output.
    """
    simplified = onnx.ModelProto()
    simplified.CopyFrom(model)
    _scale_by_constants(simplified.graph)
    _drop_dead_nodes(simplified.graph)
    _drop_dead_parameters(simplified.graph)
    _drop_metadata(simplified)
    simplified.producer_name = PRODUCER
    simplified.producer_version = model.producer_version.split("+")[0]  # 2.13.0+cpu becomes 2.13.0
    simplified.graph.name = graph_name
    return simplified


def _scale_by_constants(graph: onnx.GraphProto) -> None:
    sizes = _sizes_px(graph)
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        input_size, output_size = sizes.get(node.input[0]), sizes.get(node.output[0])
        if (
            input_size is None
            or output_size is None
            or output_size[0] % input_size[0]
            or output_size[1] % input_size[1]
        ):
            continue
        factors = np.array(
            [1, 1, output_size[0] // input_size[0], output_size[1] // input_size[1]], dtype=np.float32
        )
        name = f"scales_{factors[2]:.0f}x{factors[3]:.0f}"
        if all(tensor.name != name for tensor in graph.initializer):
            graph.initializer.append(numpy_helper.from_array(factors, name))
        features = node.input[0]
        del node.input[:]
        node.input.extend([features, "", name])  # features, no region of interest, scales


def _sizes_px(graph: onnx.GraphProto) -> dict[str, tuple[int, int]]:
    """Return (height, width) of every feature map (N, C, height, width) whose size is known."""
    sizes = {}
    for tensor in graph.value_info:
        axes = tensor.type.tensor_type.shape.dim
        if len(axes) == 4 and axes[2].dim_value and axes[3].dim_value:
            sizes[tensor.name] = (axes[2].dim_value, axes[3].dim_value)
    return sizes


def _drop_dead_nodes(graph: onnx.GraphProto) -> None:
    needed = {output.name for output in graph.output}
    used = []
    for node in reversed(graph.node):  # topological order: every user comes after what it uses
        if needed.intersection(node.output):
            needed.update(node.input)
            used.append(node)
    used.reverse()
    del graph.node[:]
    graph.node.extend(used)


def _drop_dead_parameters(graph: onnx.GraphProto) -> None:
    needed = {name for node in graph.node for name in node.input}
    used = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(used)


def _drop_metadata(model: onnx.ModelProto) -> None:
    graph = model.graph
    del model.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    model.ClearField("doc_string")
    graph.ClearField("doc_string")

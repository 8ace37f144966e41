"""Simplify: an exported graph loses what only the exporter needed.

Three things go. The exporter's notes (stack traces with the paths of this machine), which would
make two exports of one model differ. The arithmetic on shapes, which a dynamic batch axis drags
into every resize although only the batch is dynamic. And whatever is dead after that.
"""

import numpy as np
import onnx
from onnx import numpy_helper

PRODUCER = "cutout"


def simplify(model: onnx.ModelProto, *, graph_name: str) -> onnx.ModelProto:
    """Return a smaller graph that computes the same numbers.

    Args:
        model: A checked model whose every tensor has a static shape but for the batch axis.
            It is left as it was.
        graph_name: The name the graph gets.

    Returns:
        A new model: whole-factor resizes scale by a constant, and no node, tensor or parameter
        is left that no output needs.
    """
    simplified = onnx.ModelProto()
    simplified.CopyFrom(model)
    _scale_by_constants(simplified.graph)
    _drop_dead_nodes(simplified.graph)
    _drop_dead_parameters(simplified.graph)
    _drop_notes(simplified)
    simplified.producer_name = PRODUCER
    simplified.producer_version = model.producer_version.split("+")[0]  # 2.13.0+cpu is 2.13.0
    simplified.graph.name = graph_name
    return simplified


def _scale_by_constants(graph: onnx.GraphProto) -> None:
    sizes = _sizes_px(graph)
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        before, after = sizes.get(node.input[0]), sizes.get(node.output[0])
        if before is None or after is None or after[0] % before[0] or after[1] % before[1]:
            continue
        factors = np.array([1, 1, after[0] // before[0], after[1] // before[1]], dtype=np.float32)
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
    alive = []
    for node in reversed(graph.node):  # topological order: every user comes after what it uses
        if needed.intersection(node.output):
            needed.update(node.input)
            alive.append(node)
    alive.reverse()
    del graph.node[:]
    graph.node.extend(alive)


def _drop_dead_parameters(graph: onnx.GraphProto) -> None:
    needed = {name for node in graph.node for name in node.input}
    alive = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(alive)


def _drop_notes(model: onnx.ModelProto) -> None:
    graph = model.graph
    del model.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    for noted in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del noted.metadata_props[:]
        noted.ClearField("doc_string")
    model.ClearField("doc_string")
    graph.ClearField("doc_string")

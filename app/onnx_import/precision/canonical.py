"""Canonical: brings the graph of any exporter into the form that an export has, with the same maps.

ONNX Runtime's own optimiser folds constants, arithmetic on shapes and batch normalisations, with standard
operators alone. Afterwards every convolution whose parameters are constants has a kernel and a bias of its
own, every node a name, and the sizes around every resize of maps are known.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

from app.engine.models.onnxruntime_loader import onnxruntime
from app.onnx_import.refusal import GraphRefused, RunFailed
from app.onnx_import.runner import Runner, reason_of
from app.onnx_import.wrapping import resize_scale

OPSET = 18
"""What is added has the form of this version: reductions read their axes as an input."""
KEPT_APART = ["TransposeOptimizer"]
"""It would move the change of layout away from the normalisation, which ``int8_entry`` looks for."""
MAX_DIFFERENCE = 1e-3
MAP_AXES = 4


def canonical(model_bytes: bytes, picture: NDArray[np.uint8]) -> bytes:
    """Return a graph with the same maps in the form that can be rewritten.

    Args:
        model_bytes: A float32 graph with the serving contract.
        picture: A batch of one, (1, S, S, 3), for the trial.

    Raises:
        GraphRefused: The graph cannot be brought into that form, or has other maps in it.
    """
    try:
        model = onnx.load_from_string(_optimised(_at_opset(onnx.load_from_string(model_bytes))))
        _name_nodes(model.graph)
        _own_parameters(model.graph)
        _fix_sizes(model, picture)
        _drop_unused(model.graph)
        _drop_domains(model)
        prepared = bytes(model.SerializeToString(deterministic=True))
        maps = [Runner.load(each).run(picture)[0] for each in (model_bytes, prepared)]
    except RunFailed as error:
        raise GraphRefused(f"The graph cannot be brought into a form to quantise: {error}") from error
    difference = float(np.abs(maps[0] - maps[1]).max())
    if not difference <= MAX_DIFFERENCE:
        raise GraphRefused(
            f"The graph has other maps in the form to quantise; they differ by {difference:.2g}."
        )
    return prepared


def _at_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # onnx raises its own errors of C++ as RuntimeError, ConvertError and others
        raise GraphRefused(
            f"The graph has opset {opset}, and onnx cannot convert it to {OPSET}. Export it again with "
            f"{OPSET} or newer, or add it in float32 only."
        ) from error


def _optimised(model: onnx.ModelProto) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=KEPT_APART,
            )
        except Exception as error:
            raise RunFailed(reason_of(error)) from error
        return path.read_bytes()


def _drop_domains(model: onnx.ModelProto) -> None:
    """Drop the domains that no node is of; the runtime lists all of its own."""
    used = {node.domain for node in model.graph.node} | {""}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)


def _name_nodes(graph: onnx.GraphProto) -> None:
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"


def _own_parameters(graph: onnx.GraphProto) -> None:
    """Give every convolution a kernel and a bias that no other node reads, named after its result.

    Convolutions whose parameters are results of nodes keep them.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = set(stored)
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in stored:
            continue
        kernel = numpy_helper.to_array(stored[node.input[1]])
        if len(node.input) < 3 or not node.input[2]:
            bias = np.zeros(len(kernel), kernel.dtype)
        elif node.input[2] in stored:
            bias = numpy_helper.to_array(stored[node.input[2]])
        else:
            continue
        stem = node.output[0]
        while not taken.isdisjoint(names := (f"{stem}.weight", f"{stem}.bias")):
            stem += "_"  # another layer's parameter may have the name
        taken.update(names)
        graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in zip(names, (kernel, bias), strict=True)
        )
        features = node.input[0]
        del node.input[:]
        node.input.extend([features, *names])


def _drop_unused(graph: onnx.GraphProto) -> None:
    needed = {output.name for output in graph.output}
    used: list[onnx.NodeProto] = []
    for node in reversed(graph.node):  # every user comes after what it uses
        if needed.intersection(node.output):
            needed.update(node.input)
            used.append(node)
    del graph.node[:]
    graph.node.extend(reversed(used))
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _fix_sizes(model: onnx.ModelProto, picture: NDArray[np.uint8]) -> None:
    """Let every resize of maps scale by constants, and write the sizes that a run shows into the graph."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer} | {graph.input[0].name, graph.output[0].name}
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    names = sorted({name for node in resizes for name in (node.input[0], node.output[0])} - stored)
    del graph.value_info[:]
    if not names:
        return
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    runs = Runner.load(exposed.SerializeToString()).run(picture)
    shapes = {name: values.shape for name, values in zip(names, runs, strict=True)}
    for name, shape in shapes.items():
        graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *shape[1:]]))
    for number, node in enumerate(resizes):
        before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
        if len(before) == len(after) == MAP_AXES and before[:2] == after[:2]:
            scales = [1.0, 1.0, *(resize_scale(b, a) for b, a in zip(before[2:], after[2:], strict=True))]
            name = f"scales.{number}"
            graph.initializer.append(numpy_helper.from_array(np.array(scales, np.float32), name))
            features = node.input[0]
            del node.input[:]
            node.input.extend([features, "", name])
            kept = [each for each in node.attribute if each.name != "axes"]  # the scales are of all axes
            del node.attribute[:]
            node.attribute.extend(kept)

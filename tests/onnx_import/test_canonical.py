"""The form to quantise: any exporter's graph keeps its maps, and every layer gets weights of its own."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from app.onnx_import.build import Request, build
from app.onnx_import.precision.calibrate import calibrate
from app.onnx_import.precision.canonical import canonical
from app.onnx_import.precision.graph_layers import read_layers
from app.onnx_import.precision.quantise import quantise
from app.onnx_import.runner import Runner
from app.pipeline.photographs import photographs
from tests.onnx_import import graphs
from tests.onnx_import.graphs import SIDE, saved

PICTURES = photographs(SIDE)


def served(model: onnx.ModelProto, folder: Path) -> bytes:
    return build(Request(saved(model, folder))).model_bytes


def maps(model_bytes: bytes) -> np.ndarray:
    return np.asarray(Runner.load(model_bytes).run(PICTURES)[0])


def shared_weights() -> onnx.ModelProto:
    """Return a network whose two layers read one kernel, which is a node's and not stored, without a bias."""
    kernel = np.random.default_rng(3).normal(0.2, 0.2, (3, 3, 3, 3)).astype(np.float32)
    last = np.random.default_rng(4).normal(0, 1, (1, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["kernel"], value=numpy_helper.from_array(kernel)),
        helper.make_node("Conv", ["picture", "kernel"], ["one"], pads=[1] * 4),
        helper.make_node("Relu", ["one"], ["between"]),
        helper.make_node("Conv", ["between", "kernel"], ["two"], pads=[1] * 4),
        helper.make_node("Conv", ["two", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["saliency"]),
    ]
    return graphs.model_of(nodes, [numpy_helper.from_array(last, "last")])


def named_after_others() -> onnx.ModelProto:
    """Return a network in which each layer's kernel is named after the result of the other one."""
    kernels = np.random.default_rng(5).normal(0.2, 0.2, (2, 3, 3, 3, 3)).astype(np.float32)
    last = np.random.default_rng(6).normal(0, 1, (1, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["picture", "two.weight"], ["one"], pads=[1] * 4),
        helper.make_node("Relu", ["one"], ["between"]),
        helper.make_node("Conv", ["between", "one.weight"], ["two"], pads=[1] * 4),
        helper.make_node("Conv", ["two", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["saliency"]),
    ]
    names = ("one.weight", "two.weight", "last")
    stored = [numpy_helper.from_array(each, name) for each, name in zip((*kernels, last), names, strict=True)]
    return graphs.model_of(nodes, stored)


def resized_by_axes() -> onnx.ModelProto:
    """Return a network whose resize names two axes, as opset 18 allows."""
    kernel = np.random.default_rng(7).normal(0.2, 0.2, (3, 3, 3, 3)).astype(np.float32)
    last = np.random.default_rng(8).normal(0, 1, (1, 3, 1, 1)).astype(np.float32)
    size = numpy_helper.from_array(np.array([SIDE, SIDE], np.int64), "size")
    nodes = [
        helper.make_node("Conv", ["picture", "kernel"], ["small"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Resize", ["small", "", "", "size"], ["large"], axes=[2, 3], mode="linear"),
        helper.make_node("Conv", ["large", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["saliency"]),
    ]
    stored = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(last, "last"), size]
    return graphs.model_of(nodes, stored, opset=18)


@pytest.mark.parametrize(
    "make",
    [
        graphs.layered,
        shared_weights,
        named_after_others,
        resized_by_axes,
        graphs.channels_last,
        graphs.dynamic,
    ],
)
def test_the_maps_stay_and_arithmetic_on_shapes_goes(make: object, tmp_path: Path) -> None:
    model = make()  # type: ignore[operator]
    size = (SIDE, SIDE)
    before = build(Request(saved(model, tmp_path), size)).model_bytes
    after = canonical(before, PICTURES[:1])
    graph = onnx.load_from_string(after)

    assert np.abs(maps(before) - maps(after)).max() <= 1e-5
    assert [(each.domain, each.version >= 18) for each in graph.opset_import] == [("", True)]
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"Shape", "BatchNormalization", "Constant", "Identity"}
    for names in ([node.name for node in graph.graph.node], [each.name for each in graph.graph.initializer]):
        assert len(set(names)) == len(names)


def test_layers_that_share_weights_get_their_own_and_can_be_quantised(tmp_path: Path) -> None:
    before = served(shared_weights(), tmp_path)
    after = canonical(before, PICTURES[:1])
    layers = read_layers(onnx.load_from_string(after).graph).layers
    found = calibrate(after, lambda _: (picture[None] for picture in PICTURES))
    int8 = quantise(after, found.activations, found.means, islands=list(layers)[-1:])

    assert len({layer.weight for layer in layers.values()} | {layer.bias for layer in layers.values()}) == 6
    assert 0 < np.abs(maps(before) - maps(int8)).mean() < 0.02

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_export.calibrate import histogram, least_squared_error
from model_export.graph_layers import layer_name, observed_tensors, read_layers
from model_export.graph_session import Graph
from model_export.quantise import graph_digest, quantise, quantise_weight
from model_export.ranges import RangesInvalid

pytestmark = pytest.mark.torch
SIDE = 16


@pytest.fixture(scope="module")
def tiny() -> bytes:
    """A U of three convolutions with a pooling, a resize, a concatenation, a sum and a head."""
    rng = np.random.default_rng(0)

    def conv(name: str, source: str, channels: tuple[int, int]) -> list[onnx.NodeProto]:
        shape = (channels[1], channels[0], 3, 3)
        weights[f"network.{name}.conv.weight"] = rng.normal(0, 0.3, shape).astype(np.float32)
        weights[f"network.{name}.conv.bias"] = rng.normal(0, 0.1, channels[1]).astype(np.float32)
        inputs = [source, f"network.{name}.conv.weight", f"network.{name}.conv.bias"]
        return [helper.make_node("Conv", inputs, [f"{name}_sum"], name=f"{name}_conv", pads=[1, 1, 1, 1])]

    def relu(name: str) -> onnx.NodeProto:
        return helper.make_node("Relu", [f"{name}_sum"], [f"{name}_out"], name=f"{name}_relu")

    weights: dict[str, np.ndarray] = {"white": np.float32(255), "twice": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        helper.make_node("Cast", ["network_input"], ["colours"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["colours", "white"], ["scaled"], name="div"),
        helper.make_node("Transpose", ["scaled"], ["first"], name="transpose", perm=[0, 3, 1, 2]),
        *conv("entry", "first", (3, 4)),
        relu("entry"),
        helper.make_node(
            "MaxPool", ["entry_out"], ["half"], name="pool", kernel_shape=[2, 2], strides=[2, 2]
        ),
        *conv("bottom", "half", (4, 4)),
        relu("bottom"),
        helper.make_node("Resize", ["bottom_out", "", "twice"], ["up"], name="resize", mode="linear"),
        helper.make_node("Concat", ["up", "entry_out"], ["joined"], name="concat", axis=1),
        *conv("top", "joined", (8, 4)),
        relu("top"),
        helper.make_node("Add", ["top_out", "entry_out"], ["added"], name="add"),
        *conv("sides.0", "added", (4, 1)),
        helper.make_node("Sigmoid", ["sides.0_sum"], ["map"], name="sigmoid"),
        helper.make_node("Squeeze", ["map", "channel"], ["saliency"], name="squeeze"),
    ]
    weights["channel"] = np.array([1], np.int64)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("network_input", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, ["batch", SIDE, SIDE])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def activations(tiny: bytes, pictures: np.ndarray) -> dict[str, tuple[float, float]]:
    model = onnx.load_from_string(tiny)
    tensors = observed_tensors(read_layers(model.graph))
    for name in tensors.values():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = Graph.load(model.SerializeToString()).session
    values = session.run(list(tensors.values()), {"network_input": pictures})
    return {
        label: (min(0.0, float(each.min())), float(each.max()))
        for label, each in zip(tensors, values, strict=True)
    }


@pytest.fixture(scope="module")
def int8(tiny: bytes, activations: dict[str, tuple[float, float]]) -> bytes:
    return quantise(tiny, activations, islands=["sides.0"])


def test_layers_and_other_tensors_that_convolutions_read_have_ranges(
    activations: dict[str, tuple[float, float]],
) -> None:
    assert list(activations) == ["entry", "bottom", "top", "sides.0", "first", "added"]


def test_an_int8_graph_is_close_to_float32_and_not_equal(
    tiny: bytes, int8: bytes, pictures: np.ndarray
) -> None:
    difference = np.abs(Graph.load(tiny).run(pictures) - Graph.load(int8).run(pictures))

    assert 0 < difference.mean() < 0.01


def test_a_batch_equals_its_pictures_run_one_by_one(int8: bytes, pictures: np.ndarray) -> None:
    graph = Graph.load(int8)
    one_by_one = np.concatenate([graph.run(picture[None]) for picture in pictures])

    assert np.array_equal(graph.run(pictures), one_by_one)


def test_two_graphs_from_the_same_ranges_are_equal(
    tiny: bytes, int8: bytes, activations: dict[str, tuple[float, float]]
) -> None:
    again = quantise(tiny, dict(reversed(activations.items())), islands=["sides.0"])

    assert again == int8
    assert graph_digest(again) == graph_digest(int8)


def test_weights_are_8_bits_and_the_head_is_float32(int8: bytes) -> None:
    kinds = {each.name: each.data_type for each in onnx.load_from_string(int8).graph.initializer}

    assert kinds["network.entry.conv.weight_quantised"] == TensorProto.INT8
    assert kinds["network.entry.conv.bias_quantised"] == TensorProto.INT32
    assert kinds["network.sides.0.conv.weight"] == TensorProto.FLOAT
    assert "network.entry.conv.weight" not in kinds


def test_poolings_and_concatenations_work_on_8_bits(int8: bytes) -> None:
    nodes = {node.name: node for node in onnx.load_from_string(int8).graph.node}

    assert list(nodes["pool"].input) == ["entry_out_quantised"]
    assert list(nodes["concat"].input) == ["up_quantised", "entry_out_quantised"]
    assert "entry_relu" not in nodes
    assert "sides.0_sum_quantised_node" not in nodes


def test_missing_ranges_and_unknown_islands_are_refused(
    tiny: bytes, activations: dict[str, tuple[float, float]]
) -> None:
    with pytest.raises(RangesInvalid, match="no range of top"):
        quantise(tiny, {name: each for name, each in activations.items() if name != "top"}, islands=[])
    with pytest.raises(RangesInvalid, match="no layers"):
        quantise(tiny, activations, islands=["decoder.9"])


def test_a_kernel_is_quantised_within_half_a_step_of_its_largest_weight() -> None:
    weight = np.random.default_rng(2).normal(0, 1, (6, 5, 3, 3)).astype(np.float32)
    weight[2] = 0

    integers, scales = quantise_weight(weight)

    error = np.abs(integers * scales[:, None, None, None] - weight)
    plain = np.abs(weight).max(axis=(1, 2, 3)) / 127
    clipped = 0.2 * np.abs(weight).max(axis=(1, 2, 3)) + plain
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    assert (error.max(axis=(1, 2, 3)) <= clipped).all()
    assert not integers[2].any()


def test_a_rare_large_value_is_clipped_and_an_even_distribution_is_not() -> None:
    even = np.linspace(0, 1, 10_001, dtype=np.float32)
    rare = np.append(np.random.default_rng(3).exponential(0.02, 200_000), 1.0).astype(np.float32)

    assert least_squared_error(histogram(even, (0.0, 1.0)), (0.0, 1.0)) == pytest.approx((0, 1), abs=0.02)
    assert least_squared_error(histogram(rare, (0.0, 1.0)), (0.0, 1.0))[1] < 0.9


def test_layers_are_named_as_in_the_network() -> None:
    assert layer_name("network.encoder.0.entry.conv.weight") == "encoder.0.entry"
    assert layer_name("network.sides.2.weight") == "sides.2"

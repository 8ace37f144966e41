import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.precision.calibrate import Calibration, calibrate, histogram, least_squared_error
from app.onnx_import.precision.graph_layers import layer_name
from app.onnx_import.precision.int8_entry import COLOURS, fold_normalisation
from app.onnx_import.precision.int8_head import EightBit, is_head, write_logits
from app.onnx_import.precision.int8_resize import doubles, write_doubling
from app.onnx_import.precision.int8_weights import quantise_weight
from app.onnx_import.precision.node_writer import NodeWriter
from app.onnx_import.precision.quantise import RangesMismatch, graph_digest, quantise
from app.onnx_import.runner import Runner

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
        helper.make_node("Sub", ["scaled", "mean"], ["centred"], name="sub"),
        helper.make_node("Div", ["centred", "std"], ["normalised"], name="div_std"),
        helper.make_node("Transpose", ["normalised"], ["first"], name="transpose", perm=[0, 3, 1, 2]),
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
    weights["mean"] = np.array([0.485, 0.456, 0.406], np.float32)
    weights["std"] = np.array([0.229, 0.224, 0.225], np.float32)
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
def ranges(tiny: bytes, pictures: np.ndarray) -> Calibration:
    return calibrate(tiny, lambda _: (picture[None] for picture in pictures))


@pytest.fixture(scope="module")
def int8(tiny: bytes, ranges: Calibration) -> bytes:
    return quantise(tiny, ranges.activations, ranges.means, islands=["sides.0"])


def test_layers_and_other_tensors_that_convolutions_read_have_ranges(
    ranges: Calibration,
) -> None:
    assert list(ranges.activations) == ["entry", "bottom", "top", "sides.0", COLOURS, "added"]
    assert ranges.activations[COLOURS] == (0.0, 1.0)


def test_means_are_of_the_channels_that_a_layer_reads(ranges: Calibration, pictures: np.ndarray) -> None:
    assert {name: len(means) for name, means in ranges.means.items()} == {
        "entry": 4,
        "bottom": 4,
        "top": 8,
        "sides.0": 4,
    }
    colours = pictures.mean(axis=(0, 1, 2)) / 255
    assert ranges.means["entry"] == pytest.approx([*colours, 1], rel=1e-3)


def test_an_int8_graph_is_close_to_float32_and_not_equal(
    tiny: bytes, int8: bytes, pictures: np.ndarray
) -> None:
    difference = np.abs(Runner.load(tiny).run(pictures)[0] - Runner.load(int8).run(pictures)[0])

    assert 0 < difference.mean() < 0.01


def test_a_batch_equals_its_pictures_run_one_by_one(int8: bytes, pictures: np.ndarray) -> None:
    graph = Runner.load(int8)
    one_by_one = np.concatenate([graph.run(picture[None])[0] for picture in pictures])

    assert np.array_equal(graph.run(pictures)[0], one_by_one)


def test_two_graphs_from_the_same_ranges_are_equal(tiny: bytes, int8: bytes, ranges: Calibration) -> None:
    activations = dict(reversed(ranges.activations.items()))
    again = quantise(tiny, activations, dict(reversed(ranges.means.items())), islands=["sides.0"])

    assert again == int8
    assert graph_digest(again) == graph_digest(int8)


def test_weights_are_8_bits_and_logits_are_never_rounded(int8: bytes) -> None:
    kinds = {each.name: each.data_type for each in onnx.load_from_string(int8).graph.initializer}

    assert kinds["network.entry.conv.weight_quantised"] == TensorProto.INT8
    assert kinds["network.entry.conv.bias_quantised"] == TensorProto.INT32
    assert "network.entry.conv.weight" not in kinds
    assert "network.sides.0.conv.weight" not in kinds
    nodes = onnx.load_from_string(int8).graph.node
    assert not [node.name for node in nodes if node.name.startswith("sides.0_sum_quantised")]


def test_poolings_and_concatenations_work_on_8_bits(int8: bytes) -> None:
    nodes = {node.name: node for node in onnx.load_from_string(int8).graph.node}

    assert list(nodes["pool"].input) == ["entry_out_quantised"]
    assert list(nodes["concat"].input) == ["up_quantised", "entry_out_quantised"]
    assert "entry_relu" not in nodes
    assert "Resize" not in {node.op_type for node in nodes.values()}


def test_missing_ranges_and_unknown_islands_are_refused(tiny: bytes, ranges: Calibration) -> None:
    activations, means = ranges.activations, ranges.means
    without_top = {name: each for name, each in activations.items() if name != "top"}
    with pytest.raises(RangesMismatch, match="no range of top"):
        quantise(tiny, without_top, means, islands=[])
    with pytest.raises(RangesMismatch, match=r"no means of .*top"):
        quantise(tiny, activations, {name: means[name] for name in means if name != "top"}, islands=[])
    with pytest.raises(RangesMismatch, match="no layers"):
        quantise(tiny, activations, means, islands=["decoder.9"])


def test_the_first_layer_reads_a_white_picture_without_rounding_and_its_border_too(tiny: bytes) -> None:
    model = onnx.load_from_string(tiny)
    folded = onnx.load_from_string(tiny)
    assert fold_normalisation(folded.graph)
    pictures = np.random.default_rng(4).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)

    sums = [outputs_of(each, "entry_sum", pictures) for each in (model, folded)]

    assert np.allclose(*sums, atol=2e-6)


@pytest.mark.parametrize("change", ["operator", "computed", "one number"])
def test_a_graph_without_the_normalisation_keeps_its_first_layer(change: str, tiny: bytes) -> None:
    model = onnx.load_from_string(tiny)
    nodes = {node.name: node for node in model.graph.node}
    if change == "operator":
        nodes["sub"].op_type = "Add"
    elif change == "computed":
        nodes["div_std"].input[1] = "scaled"
    else:
        nodes["div_std"].input[1] = "white"
    before = model.SerializeToString(deterministic=True)

    assert not fold_normalisation(model.graph)
    assert model.SerializeToString(deterministic=True) == before


def test_a_graph_that_reads_the_normalised_picture_elsewhere_too_keeps_it(
    tiny: bytes, pictures: np.ndarray
) -> None:
    model = onnx.load_from_string(tiny)
    last = next(node for node in model.graph.node if node.name == "sigmoid")
    mean = helper.make_node("ReduceMean", ["first", "channel"], ["brightness"], name="mean")
    total = helper.make_node("Add", ["sides.0_sum", "brightness"], ["total"], name="total")
    nodes = [node for node in model.graph.node if node.name not in ("sigmoid", "squeeze")]
    squeeze = next(node for node in model.graph.node if node.name == "squeeze")
    last.input[0] = "total"
    rewritten = [*nodes, mean, total, last, squeeze]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rewritten]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    float32 = bytes(model.SerializeToString())
    found = calibrate(float32, lambda _: (picture[None] for picture in pictures))
    int8 = quantise(float32, found.activations, found.means, islands=["sides.0"])

    assert not fold_normalisation(model.graph)
    difference = np.abs(Runner.load(float32).run(pictures)[0] - Runner.load(int8).run(pictures)[0])
    assert 0 < difference.mean() < 0.01


@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
@pytest.mark.parametrize("is_joined", [False, True], ids=["alone", "joined with a wider tensor"])
def test_a_clamp_is_left_out_only_where_the_range_of_the_integers_does_the_same(
    clamp: str, pictures: np.ndarray, *, is_joined: bool
) -> None:
    """Tensors that are joined have one range, which may be wider than that of the clamp before."""
    rng = np.random.default_rng(8)
    shapes = {"p": (4, 3), "q": (4, 3), "r": (4, 8 if is_joined else 4), "sides.0": (1, 4)}
    stored = {
        f"network.{name}.conv.weight": rng.normal(0, 0.6, (*shape, 3, 3)) for name, shape in shapes.items()
    }
    stored |= {f"network.{name}.conv.bias": rng.normal(0, 0.3, shape[0]) for name, shape in shapes.items()}
    stored |= {"white": np.float32(255), "low": np.float32(0), "high": np.float32(0.5)}

    def conv(name: str, source: str) -> onnx.NodeProto:
        inputs = [source, *(f"network.{name}.conv.{part}" for part in ("weight", "bias"))]
        return helper.make_node("Conv", inputs, [name], name=f"{name}_conv", pads=[1, 1, 1, 1])

    limits = ["low", "high"] if clamp == "Clip" else []
    features = "joined" if is_joined else "clamped"
    nodes = [
        helper.make_node("Cast", ["network_input"], ["colours"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["colours", "white"], ["scaled"], name="div"),
        helper.make_node("Transpose", ["scaled"], ["first"], name="transpose", perm=[0, 3, 1, 2]),
        conv("p", "first"),  # has negative values
        conv("q", "first"),
        helper.make_node(clamp, ["q", *limits], ["clamped"], name="clamp"),
        helper.make_node("Concat", ["p", "clamped"], ["joined"], name="concat", axis=1),
        conv("r", features),
        conv("sides.0", "r"),
        helper.make_node("Sigmoid", ["sides.0"], ["map"], name="sigmoid"),
        helper.make_node("Squeeze", ["map", "channel"], ["saliency"], name="squeeze"),
    ]
    constants = [numpy_helper.from_array(np.asarray(each, np.float32), name) for name, each in stored.items()]
    graph = helper.make_graph(
        nodes if is_joined else [node for node in nodes if node.name not in ("p_conv", "concat")],
        "clamped",
        [helper.make_tensor_value_info("network_input", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, ["batch", SIDE, SIDE])],
        [*constants, numpy_helper.from_array(np.array([1], np.int64), "channel")],
    )
    opsets = [helper.make_opsetid("", 18)]
    float32 = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    found = calibrate(float32, lambda _: (picture[None] for picture in pictures))
    int8 = quantise(float32, found.activations, found.means, islands=["sides.0"])

    assert np.abs(Runner.load(float32).run(pictures)[0] - Runner.load(int8).run(pictures)[0]).mean() < 0.01
    operators = {node.op_type for node in onnx.load_from_string(int8).graph.node}
    assert (clamp in operators) == is_joined


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (16, 7, 4)])
def test_doubling_in_8_bits_is_bilinear_within_a_step(shape: tuple[int, int, int]) -> None:
    constants: dict[str, onnx.TensorProto] = {}
    writer = NodeWriter(constants, "up")
    write_doubling(writer, "features", (0.37, 11), shape, "doubled")
    features = np.random.default_rng(5).integers(0, 256, (2, *shape), np.uint8)

    (doubled,) = run_nodes(writer.nodes, constants, {"features": features}, ["doubled"])

    expected = bilinear_by_loops(features)
    assert doubled.shape == expected.shape
    assert np.abs(doubled - expected).max() <= 1  # rounded twice, by half a step
    assert abs((doubled - expected).mean()) < 0.05


def test_a_constant_map_is_doubled_to_the_same_constant() -> None:
    constants: dict[str, onnx.TensorProto] = {}
    writer = NodeWriter(constants, "up")
    write_doubling(writer, "features", (0.1, 3), (2, 3, 3), "doubled")

    for value in (0, 3, 255):
        features = np.full((1, 2, 3, 3), value, np.uint8)
        assert (run_nodes(writer.nodes, constants, {"features": features}, ["doubled"])[0] == value).all()


def test_a_resize_by_other_rules_is_not_taken_for_a_doubling() -> None:
    def resize(**attributes: str | int) -> onnx.NodeProto:
        return helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)

    before, after = (0, 3, 4, 5), (0, 3, 8, 10)
    assert doubles(resize(mode="linear"), before, after)
    assert not doubles(resize(mode="linear"), before, (0, 3, 16, 20))
    assert not doubles(resize(mode="nearest"), before, after)
    assert not doubles(resize(mode="linear", antialias=1), before, after)
    asymmetric = resize(mode="linear", coordinate_transformation_mode="asymmetric")
    assert not doubles(asymmetric, before, after)


def test_logits_of_8_bits_are_those_of_a_convolution_in_float32() -> None:
    rng = np.random.default_rng(6)
    kernel = rng.normal(0, 1, (1, 8, 3, 3)).astype(np.float32)
    kernel[0, :, 1, 2] = 0
    bias = np.array([0.7], np.float32)
    features = rng.integers(0, 256, (2, 8, 5, 6), np.uint8)
    scale = (0.02, 40)
    values = (features.astype(np.float32) - scale[1]) * np.float32(scale[0])
    constants: dict[str, onnx.TensorProto] = {}
    writer = NodeWriter(constants, "logits")
    means = [float(each) for each in values.mean(axis=(0, 2, 3))]

    write_logits(writer, EightBit("features", scale, means), kernel, bias, "sums")
    (sums,) = run_nodes(writer.nodes, constants, {"features": features}, ["sums"])

    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = bias + sum(
        np.einsum("nchw,c->nhw", padded[:, :, row : row + 5, column : column + 6], kernel[0, :, row, column])
        for row in range(3)
        for column in range(3)
    )
    assert sums.shape == (2, 1, 5, 6)
    assert np.abs(sums[:, 0] - expected).max() < 0.01 * np.abs(expected).max()


def test_only_a_plain_convolution_to_one_channel_is_a_head() -> None:
    def conv(**attributes: list[int]) -> onnx.NodeProto:
        return helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)

    kernel = np.zeros((1, 8, 3, 3), np.float32)
    assert is_head(conv(pads=[1, 1, 1, 1], strides=[1, 1]), kernel)
    assert not is_head(conv(pads=[1, 1, 1, 1]), np.zeros((2, 8, 3, 3), np.float32))
    assert not is_head(conv(pads=[1, 1, 1, 1]), np.zeros((1, 8, 1, 1), np.float32))
    assert not is_head(conv(), kernel)
    assert not is_head(conv(pads=[1, 1, 1, 1], strides=[2, 2]), kernel)
    assert not is_head(conv(pads=[2, 2, 2, 2], dilations=[2, 2]), kernel)


def test_the_corrected_bias_keeps_the_mean_of_a_layer(
    tiny: bytes, ranges: Calibration, int8: bytes, pictures: np.ndarray
) -> None:
    without = {name: [0.0] * len(means) for name, means in ranges.means.items()}
    uncorrected = quantise(tiny, ranges.activations, without, islands=["sides.0"])
    graphs = [onnx.load_from_string(each) for each in (tiny, int8, uncorrected)]
    names = ("entry_out", "entry_out_dequantised", "entry_out_dequantised")
    means = [
        outputs_of(graph, name, pictures).mean(axis=(0, 2, 3))
        for graph, name in zip(graphs, names, strict=True)
    ]

    assert np.abs(means[1] - means[0]).mean() < 0.8 * np.abs(means[2] - means[0]).mean()


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


def outputs_of(model: onnx.ModelProto, tensor: str, pictures: np.ndarray) -> np.ndarray:
    """Return a tensor inside a served graph."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    exposed.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = Runner.load(exposed.SerializeToString()).session
    return np.asarray(session.run([tensor], {"network_input": pictures})[0])


def run_nodes(
    nodes: list[onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
    inputs: dict[str, np.ndarray],
    outputs: list[str],
) -> list[np.ndarray]:
    """Run loose nodes as a graph."""
    graph = helper.make_graph(
        nodes,
        "loose",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return [np.asarray(each) for each in Runner.load(model.SerializeToString()).session.run(outputs, inputs)]


def bilinear_by_loops(features: np.ndarray) -> np.ndarray:
    """Return a map doubled with bilinear weights, pixel by pixel, in float64."""
    count, channels, height, width = features.shape
    doubled = np.empty((count, channels, 2 * height, 2 * width))
    for row in range(2 * height):
        for column in range(2 * width):
            y = min(max((row + 0.5) / 2 - 0.5, 0), height - 1)
            x = min(max((column + 0.5) / 2 - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = y - top, x - left
            doubled[:, :, row, column] = (1 - down) * (
                (1 - across) * features[:, :, top, left] + across * features[:, :, top, right]
            ) + down * ((1 - across) * features[:, :, bottom, left] + across * features[:, :, bottom, right])
    return doubled

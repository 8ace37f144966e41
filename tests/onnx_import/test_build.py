"""Every kind of graph that others export becomes a served graph with the right map, or is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.build import BuiltGraph, Request, build
from app.onnx_import.refusal import GraphRefused
from app.onnx_import.trial import Runner
from app.pipeline.photographs import photographs
from tests.onnx_import import graphs
from tests.onnx_import.graphs import SIDE, expected_map, saved

PICTURES = photographs(SIDE)


def built(model: onnx.ModelProto, folder: Path, **fields: object) -> BuiltGraph:
    size = fields.pop("size", None)
    return build(Request(saved(model, folder), size, tuple(fields.items())))  # type: ignore[arg-type]


def served(graph: BuiltGraph, pictures: np.ndarray) -> np.ndarray:
    (saliency,) = Runner.load(graph.model_bytes).run(pictures)
    return np.asarray(saliency)


@pytest.mark.parametrize(
    ("make", "activation", "tolerance"),
    [
        pytest.param(graphs.plain, "none", 1e-5, id="channels first"),
        pytest.param(graphs.channels_last, "none", 1e-5, id="channels last"),
        pytest.param(graphs.logits, "sigmoid", 1e-5, id="logits"),
        pytest.param(graphs.two_outputs, "none", 1e-5, id="two outputs"),
        pytest.param(lambda: graphs.softmax(is_inside=True), "softmax:1", 1e-5, id="softmax inside"),
        pytest.param(lambda: graphs.softmax(is_inside=False), "softmax:1", 1e-5, id="softmax outside"),
        pytest.param(graphs.half, "none", 2e-2, id="half precision"),
        pytest.param(graphs.dynamic, "none", 1e-5, id="dynamic"),
        pytest.param(graphs.fixed_reshape, "none", 1e-5, id="one picture in constants"),
        pytest.param(lambda: graphs.quantised(is_dynamic=False), "none", 5e-2, id="quantised"),
        pytest.param(lambda: graphs.plain(opset=9), "none", 1e-5, id="opset 9"),
        pytest.param(lambda: graphs.plain(takes=(-1, 3, SIDE, SIDE)), "none", 1e-5, id="any batch as -1"),
        pytest.param(graphs.branches, "none", 1e-5, id="branches that read stored tensors"),
        pytest.param(graphs.shape_in_whole_numbers, "none", 1e-5, id="one picture in whole numbers"),
        pytest.param(graphs.softmax_by_hand, "softmax:1", 1e-5, id="softmax by hand"),
        pytest.param(graphs.double_output, "none", 1e-5, id="double precision"),
    ],
)
def test_a_graph_is_served_with_the_map_of_its_definition(
    make: Callable[[], onnx.ModelProto], activation: str, tolerance: float, tmp_path: Path
) -> None:
    graph = built(make(), tmp_path, size=(SIDE, SIDE))
    pictures = PICTURES[::-1]
    expected = np.stack([expected_map(picture) for picture in pictures])
    together = served(graph, np.ascontiguousarray(pictures))
    alone = np.concatenate([served(graph, picture[None]) for picture in pictures])

    assert (graph.preprocessing.activation, graph.max_batch) == (activation, None)
    assert (together.shape, together.dtype) == ((2, SIDE, SIDE), np.float32)
    assert np.abs(together - expected).max() <= tolerance
    assert np.abs(together - alone).max() <= 1e-5


def test_external_data_is_folded_into_one_file(tmp_path: Path) -> None:
    graph = build(Request(graphs.with_external(tmp_path, "tiny.data", offset=16)))
    (tmp_path / "tiny.data").unlink()

    assert np.abs(served(graph, PICTURES[:1])[0] - expected_map(PICTURES[0])).max() <= 1e-5


@pytest.mark.parametrize(
    "make", [graphs.mixes_pictures, lambda: graphs.quantised(is_dynamic=True)], ids=["mean", "dynamic int8"]
)
def test_a_graph_that_mixes_the_pictures_of_a_batch_runs_one_at_a_time(
    make: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    graph = built(make(), tmp_path)

    assert (graph.max_batch, graph.batch_difference) == (1, None)
    assert served(graph, PICTURES[:1]).shape == (1, SIDE, SIDE)


@pytest.mark.parametrize("size", [(24, 40), (40, 24)])
def test_a_network_that_is_not_square_gets_a_square_input(size: tuple[int, int], tmp_path: Path) -> None:
    shape = (1, 1, *size)
    graph = built(graphs.plain(takes=(1, 3, *size), gives=[("saliency", shape)]), tmp_path)
    flat = np.full((1, 40, 40, 3), 90, np.uint8)

    assert (graph.size, served(graph, flat).shape) == (size, (1, 40, 40))
    assert np.abs(served(graph, flat)[0] - expected_map(flat[0])).max() <= 1e-5


def test_a_map_of_another_size_is_enlarged(tmp_path: Path) -> None:
    nodes, constants = graphs.convolution()
    nodes += [
        helper.make_node("AveragePool", ["logits"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Sigmoid", ["small"], ["saliency"]),
    ]
    model = graphs.model_of(nodes, constants, gives=[("saliency", (1, 1, SIDE // 2, SIDE // 2))])

    assert served(built(model, tmp_path), PICTURES).shape == (2, SIDE, SIDE)


def test_a_network_of_whole_numbers_gets_the_picture_as_it_is(tmp_path: Path) -> None:
    graph = built(graphs.of_whole_numbers(), tmp_path)
    expected = expected_map(PICTURES[0], mean=(0, 0, 0), std=(1, 1, 1))

    assert np.abs(served(graph, PICTURES[:1])[0] - expected).max() <= 1e-5
    assert (graph.preprocessing.scale, graph.preprocessing.mean) == ("1", (0, 0, 0))


@pytest.mark.parametrize("field", [{"mean": (0.5, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.5)}, {"scale": "max"}])
def test_a_network_of_whole_numbers_takes_no_normalisation(field: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match=f"leave out --{next(iter(field))}"):
        built(graphs.of_whole_numbers(), tmp_path, **field)


def test_a_served_graph_can_be_added_again(tmp_path: Path) -> None:
    first = built(graphs.plain(), tmp_path)
    (tmp_path / "served.onnx").write_bytes(first.model_bytes)
    second = build(Request(tmp_path / "served.onnx"))

    assert np.abs(served(second, PICTURES) - served(first, PICTURES)).max() <= 1e-6


def test_an_inverted_map_is_the_backgrounds(tmp_path: Path) -> None:
    graph = built(graphs.plain(), tmp_path, is_inverted=True)

    assert np.abs(served(graph, PICTURES[:1])[0] - (1 - expected_map(PICTURES[0]))).max() <= 1e-5


def test_channels_in_the_other_order_are_swapped(tmp_path: Path) -> None:
    graph = built(graphs.plain(), tmp_path, order="bgr")
    swapped = np.ascontiguousarray(PICTURES[0, ..., ::-1])

    assert np.abs(served(graph, PICTURES[:1])[0] - expected_map(swapped)).max() <= 1e-5


def test_each_picture_is_divided_by_its_own_maximum(tmp_path: Path) -> None:
    graph = built(graphs.plain(), tmp_path, scale="max")
    dark = (PICTURES // 4).astype(np.uint8)
    dark[0, 0, 0] = 63
    dark[1] = 0
    maximum = dark[0].max()
    expected = expected_map(
        dark[0], mean=[m * 255 / maximum * (maximum / 255) for m in (0.485, 0.456, 0.406)]
    )
    by_hand = dark[0].astype(np.float64) / maximum

    logits = ((by_hand - graphs.IMAGENET_MEAN) / graphs.IMAGENET_STD) @ graphs.WEIGHTS + graphs.BIAS
    together = served(graph, dark)

    assert np.abs(together[0] - 1 / (1 + np.exp(-logits))).max() <= 1e-5
    assert np.abs(together[1] - expected_map(dark[1])).max() <= 1e-5
    assert np.abs(together[0] - expected).max() > 0.01


def test_each_picture_is_stretched_from_its_darkest_to_its_brightest_value(tmp_path: Path) -> None:
    graph = built(graphs.plain(), tmp_path, scale="picture")
    grey = (50 + PICTURES // 4).astype(np.uint8)
    low, high = int(grey[0].min()), int(grey[0].max())
    by_hand = (grey[0].astype(np.float64) - low) / (high - low)
    logits = ((by_hand - graphs.IMAGENET_MEAN) / graphs.IMAGENET_STD) @ graphs.WEIGHTS + graphs.BIAS

    assert np.abs(served(graph, grey)[0] - 1 / (1 + np.exp(-logits))).max() <= 1e-5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"output": 3}, "has 1 outputs"),
        ({"activation": "softmax:1"}, "has 1 channels"),
        ({"activation": "relu"}, "none, sigmoid or softmax:K"),
        ({"scale": "-1"}, "The scale is"),
        ({"scale": "nan"}, "The scale is"),
        ({"scale": "inf"}, "The scale is"),
        ({"std": (0.0, 1.0, 1.0)}, "above 0"),
        ({"std": (float("inf"),) * 3}, "above 0"),
        ({"mean": (float("nan"),) * 3}, "The means must be finite"),
        ({"size": (64, 64)}, "takes a height of 32 px, not 64"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    fields: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(GraphRefused, match=reason):
        built(graphs.plain(), tmp_path, **fields)


def test_a_size_beyond_the_largest_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="at most 4096 px a side, not 99999"):
        built(graphs.dynamic(), tmp_path, size=(99999, 32))


def test_a_network_of_any_size_needs_one(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="--size 512"):
        built(graphs.dynamic(), tmp_path)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(graphs.plain(takes=(4, 3, SIDE, SIDE)), "exactly 4 pictures", id="four pictures"),
        pytest.param(graphs.plain(takes=(1, 4, SIDE, SIDE)), "4 channels", id="four channels"),
        pytest.param(graphs.plain(takes=(1, 3 * SIDE)), "no RGB picture", id="a vector"),
        pytest.param(graphs.plain(kind=TensorProto.DOUBLE), "has the type double", id="double precision"),
        pytest.param(graphs.plain(takes=(1, 3, 8, 8)), "at least 16 px", id="too small"),
        pytest.param(graphs.plain(takes=(1, 3, 8192, 8192)), "at most 4096 px", id="too large"),
        pytest.param(graphs.plain(opset=8), "opset 8", id="an old opset"),
    ],
)
def test_a_graph_that_takes_something_else_is_refused(
    model: onnx.ModelProto, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(GraphRefused, match=reason):
        built(model, tmp_path)


def test_a_graph_that_ignores_its_picture_is_refused(tmp_path: Path) -> None:
    model = graphs.plain()
    zero = np.zeros((1, 3, 1, 1), np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(zero, "weights"))

    with pytest.raises(GraphRefused, match="the same map for two different photographs"):
        built(model, tmp_path)


def test_a_map_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = graphs.plain()
    nan = np.full((1, 3, 1, 1), np.nan, np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(nan, "weights"))

    with pytest.raises(GraphRefused, match="not finite"):
        built(model, tmp_path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(graphs.flattened, "no map of a picture", id="classes of pixels in a row"),
        pytest.param(graphs.of_bytes, "has values from .* to 255", id="0 to 255"),
        pytest.param(graphs.two_sigmoids, "do not add up to 1", id="two sigmoids"),
    ],
)
def test_an_output_that_is_neither_map_nor_logits_is_refused(
    make: Callable[[], onnx.ModelProto], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(GraphRefused, match=reason):
        built(make(), tmp_path)


def test_the_user_may_say_what_follows_an_output(tmp_path: Path) -> None:
    graph = built(graphs.two_sigmoids(), tmp_path, activation="softmax:1")

    assert graph.preprocessing.activation == "softmax:1"


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    nodes, constants = graphs.convolution()
    mean = helper.make_node("ReduceMean", ["logits"], ["saliency"], axes=[2, 3], keepdims=0)

    with pytest.raises(GraphRefused, match="no map of a picture"):
        built(graphs.model_of([*nodes, mean], constants, gives=[("saliency", (1, 1))]), tmp_path)


def test_two_imports_of_a_file_are_equal_byte_for_byte(tmp_path: Path) -> None:
    assert built(graphs.logits(), tmp_path).model_bytes == built(graphs.logits(), tmp_path).model_bytes

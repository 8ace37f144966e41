"""Files that try to do more than compute a map are refused before anything in them runs."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.build import Request, build
from app.onnx_import.reading import read_model_file
from app.onnx_import.refusal import GraphRefused
from tests.onnx_import import graphs
from tests.onnx_import.graphs import saved

CUSTOM = ("evil.example", 1)


def with_node(operator: str, domain: str = "", **attributes: object) -> onnx.ModelProto:
    """Return the network with one more node before its map."""
    nodes, constants = graphs.convolution()
    more = helper.make_node(operator, ["logits"], ["more"], domain=domain, **attributes)
    sigmoid = helper.make_node("Sigmoid", ["more"], ["saliency"])
    domains = [(domain, 1)] if domain else []
    return graphs.model_of([*nodes, more, sigmoid], constants, domains=domains)


def in_a_branch(inner: onnx.NodeProto, domains: list[tuple[str, int]]) -> onnx.ModelProto:
    """Return the network with a node hidden in a branch of an If."""
    value = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)
    branch = helper.make_graph([inner], "branch", [], [value])
    constants = [numpy_helper.from_array(np.array(True), "yes")]
    nodes, weights = graphs.convolution()
    nodes += [
        helper.make_node("If", ["yes"], ["more"], then_branch=branch, else_branch=branch),
        helper.make_node("Sigmoid", ["more"], ["saliency"]),
    ]
    return graphs.model_of(nodes, [*weights, *constants], domains=domains)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(with_node("ReadFile", "evil.example", path="/etc/passwd"), "evil.example", id="custom"),
        pytest.param(with_node("ImageReader", "ai.onnx.contrib"), "ai.onnx.contrib", id="extensions"),
        pytest.param(with_node("EPContext", "com.microsoft"), "EPContext", id="compiled for a provider"),
        pytest.param(with_node("Binarizer", "ai.onnx.ml"), "ai.onnx.ml", id="classical"),
        pytest.param(with_node("RandomNormalLike"), "random numbers", id="random"),
        pytest.param(with_node("StringNormalizer"), "operators on text", id="text"),
        pytest.param(
            in_a_branch(helper.make_node("ReadFile", ["logits"], ["chosen"], domain=CUSTOM[0]), [CUSTOM]),
            "evil.example",
            id="custom in a branch",
        ),
        pytest.param(
            in_a_branch(helper.make_node("RandomNormalLike", ["logits"], ["chosen"]), []),
            "random numbers",
            id="random in a branch",
        ),
    ],
)
def test_a_refused_operator_is_named(model: onnx.ModelProto, reason: str, tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match=reason):
        build(Request(saved(model, tmp_path)))


def test_a_branch_that_only_computes_is_served(tmp_path: Path) -> None:
    model = in_a_branch(helper.make_node("Identity", ["logits"], ["chosen"]), [])

    assert build(Request(saved(model, tmp_path))).file_difference <= 1e-5


def test_a_loop_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["going_on"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("going_on", TensorProto.BOOL, [])],
    )
    model = graphs.plain()
    constants = [
        numpy_helper.from_array(np.int64(2**62), "many"),
        numpy_helper.from_array(np.array(True), "on"),
    ]
    model.graph.initializer.extend(constants)
    model.graph.node.append(helper.make_node("Loop", ["many", "on"], [], body=body))

    with pytest.raises(GraphRefused, match="a loop"):
        build(Request(saved(model, tmp_path)))


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "sub/../../outside.bin", "", "a\0b"])
def test_external_data_outside_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(64))
    folder = tmp_path / "model"
    folder.mkdir()
    path = graphs.with_external(folder, "placeholder")
    model = onnx.ModelProto.FromString(path.read_bytes())
    tensor = next(each for each in model.graph.initializer if each.name == "weights")
    tensor.external_data[0].value = location
    path.write_bytes(model.SerializeToString())

    with pytest.raises(GraphRefused, match=r"Only files next to the model|which is not in"):
        build(Request(path))


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(64))
    folder = tmp_path / "model"
    folder.mkdir()
    path = graphs.with_external(folder, "tiny.data")
    (folder / "tiny.data").unlink()
    (folder / "tiny.data").symlink_to(tmp_path / "outside.bin")

    with pytest.raises(GraphRefused, match="Only files next to the model"):
        build(Request(path))


@pytest.mark.parametrize(("offset", "length"), [(0, 10**6), (10**9, 12), (-8, 12)])
def test_external_data_beyond_its_file_is_refused(offset: int, length: int, tmp_path: Path) -> None:
    path = graphs.with_external(tmp_path, "tiny.data")
    model = onnx.ModelProto.FromString(path.read_bytes())
    tensor = next(each for each in model.graph.initializer if each.name == "weights")
    tensor.external_data[1].value, tensor.external_data[2].value = str(offset), str(length)
    path.write_bytes(model.SerializeToString())

    with pytest.raises(GraphRefused, match="lies outside"):
        build(Request(path))


def test_external_data_is_added_up_before_it_is_read(tmp_path: Path) -> None:
    path = graphs.with_external(tmp_path, "tiny.data", length=2**31)
    os.truncate(tmp_path / "tiny.data", 2**31)  # sparse: it takes no space

    with pytest.raises(GraphRefused, match="at most 2,147,483,647"):
        build(Request(path))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    path.touch()
    os.truncate(path, 2**31)

    with pytest.raises(GraphRefused, match="half precision"):
        read_model_file(path)


WHOLE = graphs.plain().SerializeToString()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "not an ONNX file", id="empty"),
        pytest.param(b"<!DOCTYPE html><title>Sign in</title>", "a web page", id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="a pointer"),
        pytest.param(WHOLE[:-40], "cut or damaged", id="cut"),
        pytest.param(np.random.default_rng(0).bytes(4000), "not an ONNX file", id="noise"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f" + WHOLE, "cut or damaged", id="a false length"),
        pytest.param(b"\x3a\x02\x0a\x00" * 5000, "it has no graph", id="no opset"),
    ],
)
def test_a_file_that_is_no_network_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file.onnx").write_bytes(content)

    with pytest.raises(GraphRefused, match=reason):
        build(Request(tmp_path / "file.onnx"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")

    with pytest.raises(GraphRefused, match="not a regular file"):
        build(Request(tmp_path / "pipe.onnx"))


def with_functions(calls: dict[str, list[str]], first: str) -> onnx.ModelProto:
    """Return the network with functions that call each other."""
    model = with_node(first, "local")
    for name, called in calls.items():
        steps = ["x", *(f"y{number}" for number in range(1, len(called))), "y"]
        nodes = [
            helper.make_node(each, [steps[n]], [steps[n + 1]], domain="" if each == "Identity" else "local")
            for n, each in enumerate(called)
        ]
        opsets = [helper.make_opsetid("", graphs.OPSET), helper.make_opsetid("local", 1)]
        model.functions.append(helper.make_function("local", name, ["x"], ["y"], nodes, opsets))
    return model


def test_a_function_of_the_file_itself_is_written_out(tmp_path: Path) -> None:
    model = with_functions({"f": ["g", "g"], "g": ["Identity"]}, "f")

    assert build(Request(saved(model, tmp_path))).file_difference <= 1e-5


def test_functions_that_multiply_are_counted_and_not_written_out(tmp_path: Path) -> None:
    calls = {f"f{n}": [f"f{n + 1}"] * 10 for n in range(12)} | {"f12": ["Identity"]}

    with pytest.raises(GraphRefused, match="1,000,000,000,00"):
        build(Request(saved(with_functions(calls, "f0"), tmp_path)))


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="calls itself"):
        build(Request(saved(with_functions({"f": ["g"], "g": ["f"]}, "f"), tmp_path)))


def test_a_function_for_another_opset_is_named(tmp_path: Path) -> None:
    model = with_functions({"f": ["Identity"]}, "f")
    model.functions[0].opset_import[0].version = graphs.OPSET - 1

    with pytest.raises(GraphRefused, match="function 'f' is written for another opset"):
        build(Request(saved(model, tmp_path)))


def test_malformed_functions_are_refused(tmp_path: Path) -> None:
    surplus = with_functions({"f": ["Identity"]}, "f")
    surplus.graph.node[1].input.append("bias")
    double = with_functions({"f": ["Identity"]}, "f")
    double.functions.append(double.functions[0])

    for model in (surplus, double):
        with pytest.raises(GraphRefused, match="functions are malformed"):
            build(Request(saved(model, tmp_path)))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = saved(graphs.plain(), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"picture", b"pict\xffre"))

    with pytest.raises(GraphRefused, match="not UTF-8 text"):
        build(Request(path))


def test_a_node_without_inputs_is_refused(tmp_path: Path) -> None:
    model = graphs.plain()
    model.graph.node[1].CopyFrom(helper.make_node("Squeeze", [], ["saliency"]))

    with pytest.raises(GraphRefused, match="cannot run the file"):
        build(Request(saved(model, tmp_path)))

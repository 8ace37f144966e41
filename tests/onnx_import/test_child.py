"""The child process: what a hostile graph does to it becomes a sentence, and nothing is left behind."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.onnx_import.child import build_in_child
from app.onnx_import.install import put_in_place, staged
from app.onnx_import.refusal import GraphRefused
from tests.onnx_import import graphs
from tests.onnx_import.graphs import saved

pytestmark = pytest.mark.process


def order(file: Path, **members: object) -> dict[str, object]:
    return {"file": str(file), "name": "tiny", "size": None, "fields": {}, "origin": {}, **members}


def needs_memory() -> onnx.ModelProto:
    """Return a network whose run makes a tensor of 2^42 bytes."""
    nodes, constants = graphs.convolution()
    nodes += [
        helper.make_node("ReduceMax", ["logits"], ["largest"], keepdims=1),
        helper.make_node("Mul", ["largest", "nothing"], ["zero"]),
        helper.make_node("Expand", ["zero", "huge"], ["expanded"]),
        helper.make_node("ReduceMean", ["expanded"], ["mean"], keepdims=1),
        helper.make_node("Add", ["logits", "mean"], ["more"]),
        helper.make_node("Sigmoid", ["more"], ["saliency"]),
    ]
    huge = numpy_helper.from_array(np.array([1, 1, 2**20, 2**20], np.int64), "huge")
    nothing = numpy_helper.from_array(np.float32(0), "nothing")
    return graphs.model_of(nodes, [*constants, huge, nothing])


def test_a_staged_model_is_complete_and_put_in_place_at_once(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    with staged(order(saved(graphs.plain(), tmp_path)), models_dir) as (manifest, staging):
        assert [*models_dir.glob("*/manifest.json")] == []
        target = put_in_place(staging, models_dir)

    assert (manifest.name, manifest.input_size_px, manifest.max_batch) == ("tiny", graphs.SIDE, None)
    assert sorted(path.name for path in target.iterdir()) == [
        "README.md",
        "manifest.json",
        "model.onnx",
        "preview.png",
    ]
    assert [path.name for path in models_dir.iterdir()] == ["tiny"]


def test_a_model_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    for model in (graphs.plain(), graphs.mixes_pictures()):
        with staged(order(saved(model, tmp_path)), tmp_path / "models") as (manifest, staging):
            put_in_place(staging, tmp_path / "models")

    assert manifest.max_batch == 1
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param(needs_memory().SerializeToString(), "memory|cannot run the file|crashes", id="memory"),
        pytest.param(b"<html></html>", "a web page", id="a web page"),
        pytest.param(graphs.plain(takes=(1, 4, 32, 32)).SerializeToString(), "4 channels", id="channels"),
    ],
)
def test_a_refused_file_leaves_nothing_behind(file: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file.onnx").write_bytes(file)

    with (
        pytest.raises(GraphRefused, match=reason),
        staged(order(tmp_path / "file.onnx"), tmp_path / "models"),
    ):
        pytest.fail("it was not refused")

    assert [*(tmp_path / "models").iterdir()] == []


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(order(tmp_path / "absent.onnx"), tmp_path / "models"):
        pytest.fail("it was not refused")


def test_a_graph_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = saved(graphs.plain(), tmp_path)

    with pytest.raises(GraphRefused, match="takes longer"):
        build_in_child(order(path), tmp_path, timeout_s=0.05)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"crashes the runtime \(SIGSEGV\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed"),
        ("raise SystemExit(3)", "ended without a result"),
        ("print('no JSON')", "ended without a result"),
    ],
)
def test_the_death_of_the_child_is_explained(program: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match=reason):
        build_in_child(order(tmp_path / "any.onnx"), tmp_path, command=(sys.executable, "-c", program))


def test_without_onnx_the_extra_is_named(tmp_path: Path) -> None:
    program = "import sys; sys.modules['onnx'] = None; from app.onnx_import.child import main; main()"

    with pytest.raises(GraphRefused, match=r"pip install 'cutout-server\[models\]'"):
        build_in_child(order(tmp_path / "any.onnx"), tmp_path, command=(sys.executable, "-c", program))


def test_half_precision_is_said_in_the_manifest(tmp_path: Path) -> None:
    with staged(order(saved(graphs.half(), tmp_path)), tmp_path / "models") as (manifest, _):
        assert (manifest.precision, graphs.half().graph.input[0].type.tensor_type.elem_type) == (
            "fp16",
            TensorProto.FLOAT16,
        )

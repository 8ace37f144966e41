"""The benchmark of networks counts the multiplications that the definition of a graph has."""

from pathlib import Path

import numpy as np
import pytest

from app.engine.models.manifest import read_manifest
from app.onnx_import.work import carry_out
from benchmarks.networks import Graph, gmacs_of, graphs_of, macs_of, row_of
from tests.onnx_import import graphs
from tests.onnx_import.graphs import SIDE, saved


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny").mkdir()
    file = str(saved(graphs.layered(), folder))
    order = {"file": file, "name": "tiny", "size": None, "fields": {}, "origin": {}}
    carry_out({**order, "staging": str(folder / "tiny"), "precisions": ["fp16"]})
    return folder


def test_the_work_is_that_of_the_layers(models_dir: Path) -> None:
    graph = Graph(models_dir, read_manifest(models_dir / "tiny"), "float32")
    pixels, half = SIDE**2, (SIDE // 2) ** 2
    a, b, c = pixels * 8 * 3 * 9, half * 8 * 8 * 9, half * 8 * 9  # c is depthwise
    d, logits = pixels * 8 * 16 * 9, pixels * 8 * 9

    assert gmacs_of(graph) * 1e9 == pytest.approx(a + b + c + d + logits)


def test_a_matrix_product_counts_and_other_operators_do_not() -> None:
    shapes = {
        "input_type_shape": [{"float": [2, 5, 7]}, {"float": [7, 3]}],
        "output_type_shape": [{"float": [2, 5, 3]}],
    }

    assert macs_of({"op_name": "MatMul", **shapes}) == 2 * 5 * 3 * 7
    assert macs_of({"op_name": "Add", **shapes}) == macs_of({}) == 0


def test_a_model_has_a_row_for_each_precision(models_dir: Path) -> None:
    found = graphs_of(models_dir, None)
    figures = {"gmacs": 0.5, "memory": 3.0 * 2**20, "MAE": 0.0123, "MSE": 0.5}
    rows = [row_of(graph, figures, 2.0) for graph in found]

    assert [row[1] for row in rows] == ["float32", "fp16"]
    assert rows[0][3:7] == ("0.5", "3 MiB", "2.00 ×", "0.0123")
    assert np.all([len(row) == 11 for row in rows])

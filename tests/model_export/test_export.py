import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from app.engine.models.manifest import Manifest, read_manifest, read_model
from app.engine.models.onnxruntime_loader import onnxruntime
from model_export.__main__ import main
from model_export.architectures import ARCHITECTURES
from model_export.export import export, export_served
from model_export.pictures import synthetic_pictures
from model_export.port import port
from model_export.ranges import RANGES_FOLDER, read_ranges, write_ranges
from model_export.variants import VariantRefused
from model_export.weights import read_convolutions

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Path:
    """A folder of models with a new export of u2netp, in float32 and int8."""
    folder = tmp_path_factory.mktemp("models")
    weights = weights_folder / "u2netp.onnx"
    export("u2netp", folder, precisions=["int8"], local_weights=weights, show_progress=False)
    return folder


@pytest.fixture(scope="module")
def manifest(models_dir: Path) -> Manifest:
    return read_manifest(models_dir / "u2netp")


@pytest.fixture(scope="module")
def model(models_dir: Path, manifest: Manifest) -> onnx.ModelProto:
    return onnx.load_from_string(read_model(models_dir / "u2netp", manifest))


@pytest.fixture(scope="module")
def session(models_dir: Path, manifest: Manifest) -> onnxruntime.InferenceSession:
    model_bytes = read_model(models_dir / "u2netp", manifest)
    return onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    saliency: NDArray[np.float32] = session.run(["saliency"], {"network_input": pictures})[0]
    return saliency


def test_the_folder_holds_the_model_its_manifest_and_its_card(models_dir: Path) -> None:
    assert sorted(path.name for path in (models_dir / "u2netp").iterdir()) == [
        "README.md",
        "manifest.json",
        "model.int8.onnx",
        "model.onnx",
    ]
    assert sorted(path.name for path in models_dir.iterdir()) == ["u2netp", "weights"]


def test_the_manifest_describes_the_model_file(models_dir: Path, manifest: Manifest) -> None:
    model_bytes = (models_dir / "u2netp" / "model.onnx").read_bytes()

    assert manifest.sha256 == hashlib.sha256(model_bytes).hexdigest()
    assert manifest.size_bytes == len(model_bytes)
    assert (manifest.name, manifest.input_size_px, manifest.precision) == ("u2netp", 320, "float32")
    assert manifest.parameters == 1_131_181
    assert manifest.weights.license == "Apache-2.0"


def test_the_manifest_describes_the_int8_file_with_its_figures(models_dir: Path, manifest: Manifest) -> None:
    model_bytes = (models_dir / "u2netp" / "model.int8.onnx").read_bytes()
    variant = manifest.precisions["int8"]

    assert read_model(models_dir / "u2netp", manifest, "int8") == model_bytes
    assert variant.sha256 == hashlib.sha256(model_bytes).hexdigest()
    assert (variant.file, variant.size_bytes) == ("model.int8.onnx", len(model_bytes))
    assert variant.quality["d"] <= 0.004
    assert "model.int8.onnx" in (models_dir / "u2netp" / "README.md").read_text()


def test_an_export_whose_figures_belong_to_another_graph_changes_nothing(
    models_dir: Path, weights_folder: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in (models_dir / "u2netp").iterdir()}
    shipped = read_ranges(RANGES_FOLDER / "u2netp.json")
    wider = {name: (low, 1.5 * high) for name, (low, high) in shipped.activations.items()}
    write_ranges(replace(shipped, activations=wider), tmp_path / "u2netp.json")
    weights = weights_folder / "u2netp.onnx"

    with pytest.raises(VariantRefused, match="not the graph that was judged"):
        export(
            "u2netp",
            models_dir,
            precisions=["int8"],
            local_weights=weights,
            ranges_dir=tmp_path,
            show_progress=False,
        )

    assert {path.name: path.read_bytes() for path in (models_dir / "u2netp").iterdir()} == before


def test_the_parity_figures_are_in_the_manifest_and_within_a_hundred_thousandth(manifest: Manifest) -> None:
    for name in ("published", "served", "batch"):
        assert manifest.quality[f"parity_{name}_max_abs"] <= 1e-5


def test_the_graph_takes_uint8_pictures_and_returns_float32_saliency(model: onnx.ModelProto) -> None:
    (graph_input,), (graph_output,) = model.graph.input, model.graph.output

    def axes(value: onnx.ValueInfoProto) -> list[str | int]:
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    assert (graph_input.name, graph_input.type.tensor_type.elem_type) == (
        "network_input",
        onnx.TensorProto.UINT8,
    )
    assert (graph_output.name, graph_output.type.tensor_type.elem_type) == (
        "saliency",
        onnx.TensorProto.FLOAT,
    )
    assert axes(graph_input) == ["batch", 320, 320, 3]
    assert axes(graph_output) == ["batch", 320, 320]


def test_normalisations_are_folded_and_shape_arithmetic_is_removed(model: onnx.ModelProto) -> None:
    counts = Counter(node.op_type for node in model.graph.node)

    assert counts["Conv"] == 119
    assert counts["Resize"] == 38
    assert not {"BatchNormalization", "Shape", "Constant", "Identity"} & set(counts)


def test_the_kernels_in_the_model_are_the_published_ones_bit_for_bit(
    models_dir: Path, weights_folder: Path
) -> None:
    served = read_convolutions(models_dir / "u2netp" / "model.onnx")
    published = read_convolutions(weights_folder / "u2netp.onnx")

    for ours, theirs in zip(served, published, strict=True):
        assert np.array_equal(ours.kernel, theirs.kernel)
        assert np.array_equal(ours.bias, theirs.bias)


def test_the_model_contains_no_paths_or_metadata_of_the_machine(
    models_dir: Path, model: onnx.ModelProto
) -> None:
    model_bytes = (models_dir / "u2netp" / "model.onnx").read_bytes()

    assert str(Path(__file__).resolve().parents[2]).encode() not in model_bytes
    assert b".py" not in model_bytes
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_two_exports_are_equal_byte_for_byte(models_dir: Path, weights_folder: Path) -> None:
    network = port(ARCHITECTURES["u2netp"](), read_convolutions(weights_folder / "u2netp.onnx"))

    assert export_served(network, graph_name="u2netp") == (models_dir / "u2netp" / "model.onnx").read_bytes()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_batch_in_any_order_equals_its_pictures_run_one_by_one(
    order: Sequence[int], session: onnxruntime.InferenceSession
) -> None:
    pictures = synthetic_pictures(320)
    one_by_one = np.concatenate([run(session, picture[None]) for picture in pictures])

    together = run(session, pictures[list(order)])

    assert np.abs(together - one_by_one[list(order)]).max() <= 1e-5


def test_the_map_of_a_picture_does_not_depend_on_the_rest_of_the_batch(
    session: onnxruntime.InferenceSession,
) -> None:
    picture, *others = synthetic_pictures(320)
    maps = [run(session, np.stack((picture, other)))[0] for other in others]

    assert all(np.array_equal(maps[0], other) for other in maps[1:])


def test_an_all_black_picture_gives_finite_saliency(session: onnxruntime.InferenceSession) -> None:
    saliency = run(session, np.zeros((1, 320, 320, 3), dtype=np.uint8))

    assert np.isfinite(saliency).all()
    assert 0 <= saliency.min() <= saliency.max() < 0.5


def test_saliency_is_raw_and_not_stretched(session: onnxruntime.InferenceSession) -> None:
    """A uniform grey picture has no object, but a stretched map would still reach 1."""
    saliency = run(session, np.full((1, 320, 320, 3), 128, dtype=np.uint8))

    assert saliency.max() < 0.5


def test_weights_with_one_changed_byte_are_refused_and_nothing_is_exported(
    weights_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = bytearray((weights_folder / "u2netp.onnx").read_bytes())
    weights[2_000_000] ^= 1
    (tmp_path / "changed.onnx").write_bytes(weights)
    # A file at the path of the weights folder disables the other sources in this test.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_text("in the way")

    status = main(
        [
            "export",
            "u2netp",
            "--models-dir",
            f"{tmp_path / 'models'}",
            "--weights",
            f"{tmp_path / 'changed.onnx'}",
        ]
    )

    assert status == 1
    assert "error: The weights 'u2netp' could not be fetched" in capsys.readouterr().err
    assert not (tmp_path / "models" / "u2netp").exists()


@pytest.mark.slow
@pytest.mark.whole
def test_an_earlier_export_is_measured_again(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", "u2netp", "--models-dir", str(models_dir)]) == 0
    assert "parity_published_max_abs" in capsys.readouterr().out


def test_a_model_with_one_changed_byte_is_not_measured(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "u2netp"
    folder.mkdir()
    manifest = json.loads((models_dir / "u2netp" / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    changed = bytearray((models_dir / "u2netp" / "model.onnx").read_bytes())
    changed[1_000_000] ^= 1
    (folder / "model.onnx").write_bytes(changed)

    assert main(["parity", "u2netp", "--models-dir", str(tmp_path)]) == 1
    assert "is not the file its manifest names" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "u3net"]) == 1
    assert "u2net" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["parity", "u3net"])

    assert caught.value.code == 2
    assert "u2net" in capsys.readouterr().err

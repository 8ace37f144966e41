"""Further precisions of an imported network: close to float32 and measured, or refused."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.engine.models.manifest import Manifest, read_manifest, read_model
from app.engine.models.onnxruntime_loader import onnxruntime
from app.onnx_import.calibration_pictures import find_calibration_pictures, read_calibration_pictures
from app.onnx_import.refusal import GraphRefused
from app.onnx_import.work import carry_out
from app.pipeline.photographs import photographs
from tests.onnx_import import graphs
from tests.onnx_import.graphs import SIDE, saved
from tests.pictures import photo, png

COUNT = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        (folder / f"{number:02}.png").write_bytes(png(picture(number)))
    return folder


def picture(number: int) -> np.ndarray:
    """Return a drawing, or the photograph that an even number shifts and selects."""
    return (
        photo(SIDE, SIDE, seed=number)
        if number % 2
        else np.roll(photographs(SIDE)[number // 2 % 2], number, 1)
    )


def added(
    model: onnx.ModelProto, folder: Path, precisions: list[str], data: Path | None, **fields: object
) -> Manifest:
    """Add a network as the command does, but in this process."""
    models_dir = folder / "models" / "tiny"
    models_dir.mkdir(parents=True)
    order = {"file": str(saved(model, folder)), "name": "tiny", "size": None, "origin": {}}
    carry_out(
        {
            **order,
            "fields": fields,
            "staging": str(models_dir),
            "precisions": precisions,
            "data": None if data is None else str(data),
        }
    )
    return read_manifest(models_dir)


def maps(model_bytes: bytes, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"network_input": each[None]})[0] for each in inputs])


def kinds(model_bytes: bytes) -> Mapping[int, int]:
    """Return the number of stored values by their type."""
    counts: dict[int, int] = {}
    for tensor in onnx.load_from_string(model_bytes).graph.initializer:
        counts[tensor.data_type] = counts.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    return counts


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_both_precisions_are_described_by_the_pictures_that_were_held_back(
    opset: int, pictures: Path, tmp_path: Path
) -> None:
    manifest = added(graphs.layered(opset=opset), tmp_path, ["int8", "fp16"], pictures)
    folder = tmp_path / "models" / "tiny"
    held_back = np.stack([picture(number) for number in (3, 7, 11)])
    float32 = maps(read_model(folder, manifest), held_back).astype(np.float64)

    for precision, variant in manifest.precisions.items():
        content = (folder / f"model.{precision}.onnx").read_bytes()
        d = np.abs(maps(content, held_back) - float32).mean(axis=(1, 2))
        assert (variant.sha256, variant.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert variant.quality == pytest.approx(
            {"d": d.mean(), "d_p95": np.percentile(d, 95), "d_worst": d.max()}, abs=1e-6
        )
        assert 0 < d.mean() <= 0.004
    assert list(manifest.precisions) == ["int8", "fp16"]
    assert np.ptp(float32) > 0.05


@pytest.mark.parametrize(("mean", "std"), [(127.5, 127.5), (0.0, 255.0)])
def test_a_network_that_takes_pictures_up_to_255_is_in_8_bits_from_its_first_layer_on(
    mean: float, std: float, pictures: Path, tmp_path: Path
) -> None:
    levels = {"scale": "1", "mean": [mean] * 3, "std": [std] * 3}
    manifest = added(graphs.layered(), tmp_path, ["int8"], pictures, **levels)
    int8 = read_model(tmp_path / "models" / "tiny", manifest, "int8")

    assert manifest.precisions["int8"].quality["d"] <= 0.004
    assert kinds(int8)[TensorProto.FLOAT] < 216  # the kernel of the first layer


def test_the_weights_are_stored_in_the_precision_and_a_batch_equals_its_pictures(
    pictures: Path, tmp_path: Path
) -> None:
    manifest = added(graphs.layered(), tmp_path, ["int8", "fp16"], pictures)
    folder = tmp_path / "models" / "tiny"
    int8, fp16 = (read_model(folder, manifest, precision) for precision in ("int8", "fp16"))
    inputs = photographs(SIDE)

    assert manifest.max_batch is None
    assert kinds(int8)[TensorProto.INT8] > 1000
    assert kinds(fp16)[TensorProto.FLOAT16] > 1000
    for content in (int8, fp16):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        together = session.run(None, {"network_input": inputs})[0]
        assert np.abs(together - maps(content, inputs)).max() <= 1e-5


def test_auto_compares_an_added_precision_as_it_does_an_exported_one(pictures: Path, tmp_path: Path) -> None:
    added(graphs.layered(), tmp_path, ["int8"], pictures)
    loader = Loader(
        tmp_path / "models",
        device="cpu",
        probe=probe("cpu"),
        threads=1,
        max_batch=1,
        clock=SystemClock(),
        precision="auto",
        photographs=photographs,
    )
    choice = loader.load("tiny").session.choice

    assert choice.reason.startswith("int8 is ")
    assert choice.difference is not None
    assert choice.difference <= 0.004 + 0.002


def test_layers_that_one_scale_cannot_represent_stay_in_float32(pictures: Path, tmp_path: Path) -> None:
    model = graphs.layered()
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    wide, deaf = (onnx.numpy_helper.to_array(stored[name]).copy() for name in ("b.w", "c.w"))
    wide[0] *= 2000  # one channel of one layer, and the next layer does not read it
    deaf[0] = 0
    stored["b.w"].CopyFrom(onnx.numpy_helper.from_array(wide, "b.w"))
    stored["c.w"].CopyFrom(onnx.numpy_helper.from_array(deaf, "c.w"))
    manifest = added(model, tmp_path, ["int8"], pictures)
    int8 = read_model(tmp_path / "models" / "tiny", manifest, "int8")

    assert manifest.precisions["int8"].quality["d"] <= 0.004
    assert kinds(int8)[TensorProto.FLOAT] > wide.size + deaf.size
    assert kinds(int8)[TensorProto.INT8] > 1152  # that of the layer after the concatenation


def test_a_network_that_8_bits_break_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match=r"int8 graph is too far .* 3 pictures .* more than 0\.004"):
        added(graphs.layered(giant=3000.0), tmp_path, ["int8"], pictures)

    assert [*(tmp_path / "models" / "tiny").iterdir()] == []


def test_a_network_that_half_precision_breaks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="fp16 graph is too far from float32: its maps of 2 pictures"):
        added(graphs.layered(giant=1e6), tmp_path, ["fp16"], None)

    assert [*(tmp_path / "models" / "tiny").iterdir()] == []


@pytest.mark.parametrize(
    ("model", "precision", "reason"),
    [
        (graphs.plain(), "int8", "no convolution that could run in 8 bits"),
        (graphs.half(), "int8", "stored as fp16; other precisions are made from a file in float32"),
        (graphs.quantised(is_dynamic=False), "fp16", "stored as int8"),
    ],
    ids=["one layer", "half", "quantised"],
)
def test_a_file_that_cannot_have_another_precision_is_refused(
    model: onnx.ModelProto, precision: str, reason: str, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(GraphRefused, match=reason):
        added(model, tmp_path, [precision], pictures)


def test_a_broken_picture_is_named(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "05.png").write_bytes(b"no picture")

    with pytest.raises(GraphRefused, match=r"05\.png cannot be read as a picture"):
        added(graphs.layered(), tmp_path, ["int8"], folder)


def test_pictures_are_spread_over_a_large_folder_and_every_fourth_is_held_back(tmp_path: Path) -> None:
    for number in range(128):
        (tmp_path / f"{number:03}.png").write_bytes(png(np.full((SIDE, SIDE, 3), number, np.uint8)))
    chosen = find_calibration_pictures(tmp_path)
    read = read_calibration_pictures(tmp_path, SIDE)

    assert [int(path.stem) for path in chosen] == [*range(0, 128, 2)]
    assert [int(picture[0, 0, 0]) for picture in read.held_back] == [*range(6, 128, 8)]
    assert len(read.calibration) == 48
    assert not {int(picture[0, 0, 0]) for picture in read.calibration} & {*range(6, 128, 8)}

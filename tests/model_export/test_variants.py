import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine.models.manifest import read_manifest, read_model, write_manifest
from app.onnx_import.precision.quantise import graph_digest
from app.onnx_import.runner import Runner
from model_export.__main__ import main
from model_export.errors import CommandFailed
from model_export.judge_precision import JudgedPicture, quality_of
from model_export.precision_cli import parse_precisions
from model_export.ranges import RANGES_FOLDER, Judgement, Ranges, RangesInvalid, read_ranges, write_ranges
from model_export.variants import (
    VariantRefused,
    describe_variant,
    int8_saturates,
    make_variant,
    measure_here,
    require_here,
)

pytestmark = pytest.mark.torch

GOOD = {"d": 0.001, "d_p95": 0.002, "d_worst": 0.003, "mae": 0.03, "mae_float32": 0.03, "maxf": 0.9}
GOOD |= {"maxf_float32": 0.9}
MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(scope="module")
def float32() -> bytes:
    """The exported u2netp; ``make test`` exports it."""
    return read_model(MODELS / "u2netp", read_manifest(MODELS / "u2netp"))


@pytest.fixture(scope="module")
def ranges() -> Ranges:
    return read_ranges(RANGES_FOLDER / "u2netp.json")


@pytest.fixture(scope="module")
def int8(float32: bytes, ranges: Ranges) -> bytes:
    return make_variant(float32, "int8", ranges)


def judged(graph: bytes, **figures: float) -> dict[str, Judgement]:
    return {"int8": Judgement(graph_digest(graph), "a set", 3, {**GOOD, **figures})}


def test_the_shipped_figures_belong_to_the_graph_that_the_shipped_ranges_make(
    int8: bytes, ranges: Ranges
) -> None:
    variant = describe_variant(int8, "int8", ranges.judged)

    assert variant.file == "model.int8.onnx"
    assert variant.size_bytes == len(int8) < 1_600_000
    assert variant.quality["d"] <= 0.0025
    assert variant.quality["mae"] - variant.quality["mae_float32"] <= 0.001


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_two_variants_are_equal_byte_for_byte(precision: str, float32: bytes, ranges: Ranges) -> None:
    assert make_variant(float32, precision, ranges) == make_variant(float32, precision, ranges)


def test_int8_is_near_float32_and_a_batch_equals_its_pictures(float32: bytes, int8: bytes) -> None:
    assert measure_here(float32, int8, 320) < 0.01
    pictures = np.random.default_rng(0).integers(0, 256, (2, 320, 320, 3), np.uint8)
    graph = Runner.load(int8)
    one_by_one = np.concatenate([graph.run(picture[None])[0] for picture in pictures])

    assert np.array_equal(graph.run(pictures)[0], one_by_one)


def test_broken_ranges_make_a_graph_that_is_refused(float32: bytes, ranges: Ranges) -> None:
    narrow = {name: (low / 20, high / 20) for name, (low, high) in ranges.activations.items()}

    broken = make_variant(float32, "int8", replace(ranges, activations=narrow))

    with pytest.raises(VariantRefused, match="not the graph that was judged"):
        describe_variant(broken, "int8", ranges.judged)
    with pytest.raises(VariantRefused, match="broken"):
        require_here(measure_here(float32, broken, 320), "int8", saturated=False)


def test_a_saturating_processor_does_not_refuse_int8_and_does_refuse_fp16() -> None:
    require_here(0.5, "int8", saturated=True)

    with pytest.raises(VariantRefused):
        require_here(0.5, "fp16", saturated=True)
    assert int8_saturates() in (False, True)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"d": 0.0041}, "d is 0.00410, the limit is 0.004"),
        ({"d": float("nan")}, "d is nan"),
        ({"mae": 0.0311}, "the loss of MAE is 0.00110, the limit is 0.001"),
    ],
)
def test_figures_above_the_limits_are_refused(figures: dict[str, float], message: str, int8: bytes) -> None:
    with pytest.raises(VariantRefused, match=message):
        describe_variant(int8, "int8", judged(int8, **figures))


def test_a_graph_that_was_never_judged_is_refused(int8: bytes) -> None:
    with pytest.raises(VariantRefused, match="was not judged"):
        describe_variant(int8, "int8", {})


def test_ranges_are_read_as_they_were_written(tmp_path: Path) -> None:
    ranges = Ranges("u2netp", "a set", 4, "min-max", {"entry": (-1.5, 2.0)}, {"entry": [0.5]}, judged(b""))

    assert read_ranges(write_ranges(ranges, tmp_path / "r.json")) == ranges
    (tmp_path / "r.json").write_text('{"model": "u2netp"}')
    for path in (tmp_path / "r.json", tmp_path / "none.json"):
        with pytest.raises(RangesInvalid):
            read_ranges(path)


def test_the_figures_of_a_set_are_means_and_its_worst() -> None:
    curve = (np.ones(256), np.full(256, 0.5))
    pictures = [JudgedPicture(Path("p"), d, (0.2, 0.1), (curve, curve)) for d in (0.0, 0.001, 0.002)]

    quality = quality_of(pictures)

    assert (quality["d"], quality["d_worst"]) == (0.001, 0.002)
    assert (quality["mae"], quality["mae_float32"]) == (0.2, 0.1)
    assert quality["maxf"] == pytest.approx(1.3 * 0.5 / 0.8, abs=1e-6)


def test_precisions_are_repeated_or_separated_by_commas() -> None:
    assert parse_precisions(["fp16", "float32,int8"]) == ("int8", "fp16")
    with pytest.raises(CommandFailed, match="unknown precision int4"):
        parse_precisions(["int4"])


def test_ranges_are_calibrated_and_judged_from_folders(
    data: Path, float32: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The round trip on two pictures: calibrate, judge, describe."""
    folder = tmp_path / "models" / "u2netp"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(float32)
    write_manifest(replace(read_manifest(MODELS / "u2netp"), precisions={}), folder)
    places = ["--models-dir", str(tmp_path / "models"), "--ranges-dir", str(tmp_path), "--data", str(data)]

    method = ["--method", "squared-error"]
    assert main(["calibrate", "u2netp", *places, *method, "--limit", "2"]) == 0
    sheet = tmp_path / "sheet.png"
    assert main(["judge", "u2netp", *places, "--every", "5", "--worst", "1", "--sheet", str(sheet)]) == 0

    ranges = read_ranges(tmp_path / "u2netp.json")
    assert (ranges.pictures, ranges.data, ranges.judged["int8"].pictures) == (2, data.name, 2)
    judgement = ranges.judged["int8"]
    assert judgement.graph == graph_digest(make_variant(float32, "int8", ranges))
    assert judgement.quality["d_worst"] >= judgement.quality["d"] > 0
    assert Image.open(sheet).size == (4 * 320, 320)
    assert "| even |" in capsys.readouterr().out


def test_a_graph_that_the_runtime_cannot_load_ends_a_command_with_the_reason(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "u2netp"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"no graph")
    manifest = read_manifest(MODELS / "u2netp")
    digest = hashlib.sha256(b"no graph").hexdigest()
    write_manifest(replace(manifest, precisions={}, sha256=digest, size_bytes=8), folder)

    assert main(["teach", "u2netp", "--data", str(data), "--models-dir", str(tmp_path / "models")]) == 1
    assert capsys.readouterr().err.startswith("error: [ONNXRuntimeError]")

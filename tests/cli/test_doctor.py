import json
from pathlib import Path

import pytest

from app.cli.sample_run import sample_picture
from tests.cli.conftest import Command
from tests.networks import add_redness_precision, redness_model

STEPS = ["admit", "decode", "prepare", "batch", "infer", "matte", "compose", "encode"]


@pytest.mark.slow
def test_the_sample_run_times_every_step(command: Command) -> None:
    result = command("doctor", "--json")
    report = json.loads(result.stdout)
    (model,) = report["models"]
    sample = model["sample"]

    assert 0 == result.exit_code
    assert ("u2netp", "CPUExecutionProvider", None) == (model["name"], model["provider"], model["problem"])
    assert set(STEPS) == set(sample["steps_ms"])
    assert all(duration_ms >= 0 for duration_ms in sample["steps_ms"].values())
    assert sum(sample["steps_ms"].values()) == pytest.approx(1e3 * sample["alone_s"], rel=0.5)
    assert sample["together_per_s"] > 0
    assert sample["in_flight"] >= 2
    assert isinstance(model["advice"], list)
    assert "cpu" == report["settings"]["CUTOUT_DEVICE"]


def test_without_a_sample_run_the_state_is_reported_as_text(command: Command) -> None:
    result = command("doctor", "--no-sample")

    assert 0 == result.exit_code
    assert "model u2netp      runs on CPUExecutionProvider, sha256 verified" in result.stdout
    assert "precision  float32: CUTOUT_PRECISION=float32" in result.stdout
    assert "pictures/s" not in result.stdout


def test_the_doctor_compares_precisions(command: Command, tmp_path: Path) -> None:
    """The maps of both differ far more than the manifest says, so the times do not matter."""
    add_redness_precision(redness_model(tmp_path / "models", "u2netp"), full=200.0)
    environment = {"CUTOUT_MODELS_DIR": str(tmp_path / "models"), "CUTOUT_PRECISION": "auto"}
    result = command("doctor", "--json", "--no-sample", **environment)
    (model,) = json.loads(result.stdout)["models"]

    assert "float32" == model["precision"]["precision"]
    assert "int8 differs by" in model["precision"]["reason"]
    assert model["precision"]["speed_ratio"] > 0


def test_a_model_that_cannot_be_served_fails_in_json_too(command: Command) -> None:
    result = command("doctor", "--json", "--no-sample", CUTOUT_MODELS="nope")

    assert 1 == result.exit_code
    assert "nope" in json.loads(result.stdout)["models"][0]["problem"]


def test_the_sample_picture_has_a_subject_and_noise() -> None:
    pixels = sample_picture(60, 90)

    assert (60, 90, 3) == pixels.shape
    assert pixels[30, 45, 0] > 150 > pixels[2, 2, 0]
    assert len({tuple(pixel) for pixel in pixels[:4].reshape(-1, 3)}) > 100

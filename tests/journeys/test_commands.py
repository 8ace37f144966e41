import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.journeys.conftest import CUTOUT, ROOT
from tests.pictures import jpeg, photo

pytestmark = pytest.mark.journey


def cutout(*arguments: str, models: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
    return subprocess.run(
        [str(CUTOUT), *arguments],
        env={
            **clean,
            "CUTOUT_MODELS_DIR": str(models),
            "CUTOUT_MODELS": "u2netp",
            "CUTOUT_PRECISION": "float32",  # the same on every machine
            "COLUMNS": "120",
            **environment,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(photo(200, 300)))
    return path


def test_remove_writes_a_cutout_and_prints_a_summary(picture: Path, models_dir: Path) -> None:
    ended = cutout("remove", str(picture), models=models_dir)

    assert ended.returncode == 0
    assert np.asarray(Image.open(picture.with_name("photo-cutout.png"))).shape == (200, 300, 4)
    assert re.search(r"300 × 200 px, u2netp on CPUExecutionProvider in float32, verdict ok", ended.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["remove", "nowhere.jpg"], 1, "nowhere.jpg"),
        (["remove", "README.md", "-o", "/nowhere.png"], 1, "not an accepted image"),
        (["remove", "README.md", "-o", "out.gif"], 2, "suffix"),
        (["remove", "docs/images/astronaut.jpg", "-o", "out.jpg"], 2, "--background"),
        (["remove", "--only-mask", "docs/images/astronaut.jpg", "-o", "out.zip"], 2, "--format"),
        (["remove", "--model", "nope", "README.md", "-o", "out.png"], 1, "make export MODEL=nope"),
        (["models", "fetch", "nope"], 1, "nope"),
        (["models", "verify", "nope"], 1, "nope"),
    ],
)
def test_errors_are_readable_and_have_no_traceback(
    arguments: list[str], code: int, expected: str, models_dir: Path
) -> None:
    ended = cutout(*arguments, models=models_dir)

    assert ended.returncode == code
    assert expected in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_models_are_listed_and_verified(models_dir: Path) -> None:
    listed, verified = (
        cutout("models", "list", models=models_dir),
        cutout("models", "verify", models=models_dir),
    )

    assert re.search(r"u2netp .*fetched .*verified .*1,131,181 .*Apache-2.0", listed.stdout)
    assert re.search(r"^ok +u2netp +float32 +sha256 [0-9a-f]{64}$", verified.stdout, re.MULTILINE)


def test_a_damaged_model_is_reported_with_both_hashes(damaged_models: Path) -> None:
    ended = cutout("models", "verify", models=damaged_models)

    assert ended.returncode == 1
    assert re.search(
        r"^BAD +broken .*expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}$", ended.stdout, re.MULTILINE
    )
    assert "BROKEN" in cutout("models", "list", models=damaged_models).stdout


def test_the_doctor_reports_the_active_provider_and_why_not_cuda(models_dir: Path) -> None:
    ended = cutout("doctor", "--no-sample", models=models_dir, CUTOUT_DEVICE="cpu")

    assert ended.returncode == 0
    assert "CUDA              no: the device is set to cpu" in ended.stdout
    assert "model u2netp      runs on CPUExecutionProvider, sha256 verified" in ended.stdout
    assert "CUTOUT_LIMITS__UPLOAD_BYTES" in ended.stdout


def test_the_doctor_fails_when_a_model_cannot_be_served(damaged_models: Path) -> None:
    ended = cutout("doctor", models=damaged_models, CUTOUT_MODELS="broken")

    assert ended.returncode == 1
    assert "cannot be served" in ended.stdout

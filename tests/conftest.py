"""Fixtures that every room may use: real models, real pictures, a service in this process."""

import os
from pathlib import Path

import pytest

try:
    from tests.generated import load_profile
except ImportError:  # the environments for torch and Ray have no Hypothesis
    pass
else:
    load_profile()

ROOT = Path(__file__).resolve().parents[1]
MODELS_DIR = ROOT / "models"


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder of exported models; ``make test`` fills it."""
    if not (MODELS_DIR / "u2netp" / "manifest.json").exists():
        pytest.fail(
            "models/u2netp is missing: run the tests by `make test`, or first `make export MODEL=u2netp`"
        )
    return MODELS_DIR


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference pictures outside the repository; without it, the test is skipped."""
    folder = Path(os.environ.get("CUTOUT_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the reference pictures are not on this machine (CUTOUT_TEST_DATA)")
    return folder

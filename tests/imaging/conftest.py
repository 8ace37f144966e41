"""Shared data: picture sets that the project may not distribute; tests that need them skip without them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of shared test data, or skip the test."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("CUTOUT_SHARED_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip("no shared test data: set CUTOUT_SHARED_DATA to its folder")
    return folder

"""Shared data: sets of pictures that are not the project's to distribute; their tests skip without them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of shared test data, or skip the test."""
    beside = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("CUTOUT_SHARED_DATA", beside)).resolve()
    if not folder.is_dir():
        pytest.skip("no shared test data: set CUTOUT_SHARED_DATA to its folder")
    return folder

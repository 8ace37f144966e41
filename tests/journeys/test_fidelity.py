"""Compares the masks of the HTTP API with those of the network's authors."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.fidelity import (
    difference_to_rembg,
    differences_to_authors,
    differences_when_enlarged,
    quality_of_reference,
    quality_of_service,
)
from tests.journeys.conftest import Server

pytestmark = [pytest.mark.journey, pytest.mark.slow]
MODELS = ("u2net", "u2netp")


@pytest.fixture(scope="module")
def client(models_dir: Path) -> Iterator[httpx.Client]:
    for name in MODELS:
        assert (models_dir / name / "manifest.json").exists(), f"run `make export MODEL={name}`"
    arguments = [word for name in MODELS for word in ("--model", name)]
    server = Server(*arguments, environment={"CUTOUT_MODELS_DIR": str(models_dir)})
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client
    server.stop()


@pytest.mark.parametrize("model", MODELS)
def test_masks_match_those_published_by_the_authors(
    client: httpx.Client, shared_data: Path, model: str
) -> None:
    found = differences_to_authors(client, shared_data, model)

    assert len(found) == 9
    assert np.mean(list(found.values())) <= 0.001


@pytest.mark.parametrize("model", ["u2netp", pytest.param("u2net", marks=pytest.mark.whole)])
def test_an_enlarged_picture_keeps_its_mask(client: httpx.Client, shared_data: Path, model: str) -> None:
    found = differences_when_enlarged(client, shared_data, model)

    assert max(found.values()) <= 0.01


@pytest.mark.parametrize("model", MODELS)
def test_masks_match_those_of_rembg(client: httpx.Client, shared_data: Path, model: str) -> None:
    assert difference_to_rembg(client, shared_data, model) <= 0.01


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.whole)])
def test_the_quality_on_ecssd_matches_the_published_weights(
    client: httpx.Client, shared_data: Path, models_dir: Path, every: int
) -> None:
    service = quality_of_service(client, shared_data, "u2netp", every=every)
    reference = quality_of_reference(models_dir / "weights" / "u2netp.onnx", shared_data, every=every)

    assert service.mae == pytest.approx(reference.mae, abs=0.001)
    assert service.max_f == pytest.approx(reference.max_f, abs=0.001)

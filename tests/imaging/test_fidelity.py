"""Fidelity: the steps around the network reproduce the authors' published maps, with the network itself."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.arrays import Grey, Rgb
from app.engine.models.onnxruntime_loader import onnxruntime
from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from app.imaging.matting.saliency import publish, stretch
from app.imaging.prepare import prepare

REPOSITORY = Path(__file__).parents[2]
NAMES = ("0002-01", "bike", "girl", "horse", "im_14", "im_27", "long", "rifle2", "vangogh")

Published = Callable[[Rgb], Grey]


@pytest.fixture(scope="module", params=["u2netp", "u2net"])
def model(request: pytest.FixtureRequest) -> tuple[str, Published]:
    """Return a model's name, and the function from a picture to its published map."""
    path = REPOSITORY / "models" / request.param / "model.onnx"
    if not path.is_file():
        pytest.skip(f"model {request.param} has not been made")
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def published(rgb: Rgb) -> Grey:
        (raw,) = session.run(["saliency"], {"network_input": prepare(rgb, 320)[None]})
        return publish(stretch(raw[0]), *rgb.shape[:2])

    return request.param, published


def test_the_authors_published_maps_are_reproduced(model: tuple[str, Published], shared_data: Path) -> None:
    """Mean absolute difference over the nine pictures, in parts of full scale."""
    name, published = model
    differences = []
    for stem in NAMES:
        (path,) = (shared_data / "u2net-reference" / "images").glob(f"{stem}.*")
        (stored,) = (shared_data / "u2net-reference" / name).glob(f"{stem}.*")
        reference = cv2.imread(str(stored), cv2.IMREAD_GRAYSCALE)
        differences.append(np.abs(published(_rgb(path)).astype(int) - reference).mean() / 255)

    assert np.mean(differences) <= 0.001


@pytest.mark.parametrize("stem", ["horse", "vangogh"])
@pytest.mark.parametrize(
    "interpolation",
    [cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_LINEAR, cv2.INTER_NEAREST_EXACT],
    ids=["bicubic", "Lanczos", "bilinear", "nearest"],
)
def test_an_enlargement_to_12_megapixels_keeps_its_mask(
    model: tuple[str, Published], shared_data: Path, stem: str, interpolation: int
) -> None:
    _, published = model
    (path,) = (shared_data / "u2net-reference" / "images").glob(f"{stem}.*")
    rgb = _rgb(path)
    factor = (12e6 / (rgb.shape[0] * rgb.shape[1])) ** 0.5
    enlarged = np.asarray(
        cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=interpolation), dtype=np.uint8
    )
    shrunk = cv2.resize(published(enlarged), rgb.shape[1::-1], interpolation=cv2.INTER_AREA)

    assert np.abs(shrunk.astype(int) - published(rgb)).mean() / 255 <= 0.01


def _rgb(path: Path) -> Rgb:
    upload = path.read_bytes()
    return decode(upload, sniff(upload)).rgb

"""Layouts and backgrounds over HTTP, checked against the plain cutout."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import jpeg, opened, photo
from tests.web.conftest import Live

UPLOAD = (Path(__file__).parents[2] / "docs/images/astronaut.jpg").read_bytes()


def cutout(live: Live, **options: str) -> NDArray[np.uint8]:
    response = live.client.post("/v1/cutout", content=UPLOAD, params=options)
    assert response.status_code == 200, response.text
    return opened(response.content)


@pytest.fixture(scope="module")
def plain(live: Live) -> NDArray[np.uint8]:
    return cutout(live)


@pytest.fixture(scope="module")
def box(plain: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(plain[:, :, 3] >= 8)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_crop_contains_the_subject_of_the_plain_cutout(
    live: Live, plain: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    cropped = cutout(live, crop="true", margin="10px 0 0 20px")

    assert cropped.shape == (bottom - top + 10, right - left + 20, 4)
    assert np.array_equal(cropped[10:, 20:], plain[top:bottom, left:right])
    assert not cropped[:10].any()


def test_a_moved_subject_has_the_same_pixels(
    live: Live, plain: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    moved = cutout(live, position="0% 0%")

    assert moved.shape == plain.shape
    assert np.array_equal(moved[: bottom - top, : right - left], plain[top:bottom, left:right])


def test_a_scaled_subject_has_the_requested_size(live_u2netp: Live, plain: NDArray[np.uint8]) -> None:
    response = live_u2netp.client.post(
        "/v1/cutout", content=UPLOAD, params={"scale": "50%", "report_box": "true"}
    )
    left, top, right, bottom = map(int, response.headers["x-cutout-subject"].split(","))
    scaled = opened(response.content)

    height, width = plain.shape[:2]
    assert max((right - left) / width, (bottom - top) / height) == pytest.approx(0.5, abs=0.01)
    assert abs((left + right) / 2 - width / 2) <= 1
    assert not scaled[:top].any()
    assert scaled[top:bottom, left:right, 3].max() == 255


def test_pixels_outside_a_region_are_transparent(live: Live, plain: NDArray[np.uint8]) -> None:
    observed = cutout(live, region="100px 50px 400px 450px")

    assert observed.shape == plain.shape
    outside = np.ones(observed.shape[:2], bool)
    outside[50:450, 100:400] = False
    assert not observed[outside].any()
    assert observed[50:450, 100:400, 3].max() > 200


@pytest.mark.parametrize(
    ("region", "slug"),
    [("0 0 9999 10", "region-outside"), ("5 5 5 9", "region-empty"), ("1 2 3", "invalid-option")],
)
def test_an_invalid_region_is_a_problem(live: Live, region: str, slug: str) -> None:
    response = live.client.post("/v1/cutout", content=UPLOAD, params={"region": region})

    assert (422, f"/problems/{slug}") == (response.status_code, response.json()["type"])


def test_the_megapixels_option_shrinks_the_picture(live: Live) -> None:
    small = cutout(live, megapixels="0.1")

    assert small.shape == (316, 316, 4)
    assert cutout(live, megapixels="25").shape == (512, 512, 4)


def test_the_alpha_channel_equals_the_alpha_of_the_cutout(live: Live, plain: NDArray[np.uint8]) -> None:
    response = live.client.post("/v1/cutout", content=UPLOAD, params={"channels": "alpha"})

    assert Image.open(io.BytesIO(response.content)).mode == "L"
    assert np.array_equal(opened(response.content), plain[:, :, 3])


def test_format_auto_is_png_with_transparency_and_jpeg_without(live: Live) -> None:
    kinds = {
        live.client.post("/v1/cutout", content=UPLOAD, params={"format": "auto", **more}).headers[
            "content-type"
        ]
        for more in ({}, {"background": "ff000080"})
    }
    over = live.client.post("/v1/cutout", content=UPLOAD, params={"format": "auto", "background": "white"})

    assert kinds == {"image/png"}
    assert (over.headers["content-type"], over.headers["content-disposition"]) == (
        "image/jpeg",
        'inline; filename="cutout.jpeg"',
    )


def test_a_background_picture_is_composed_behind_the_subject(live: Live, plain: NDArray[np.uint8]) -> None:
    behind = photo(512, 512)
    response = live.client.post(
        "/v1/cutout", files={"image": UPLOAD, "background": ("b.png", _png(behind))}, data={"format": "png"}
    )
    over = opened(response.content)

    alpha = plain[:, :, 3:] / 255
    expected = plain[:, :, :3] * alpha + behind * (1 - alpha)
    assert over.shape == (512, 512, 3)
    assert np.abs(over - expected).max() <= 1


def test_a_background_file_that_is_not_a_picture_is_refused(live: Live) -> None:
    for endpoint, status in (("cutout", 415), ("mask", 400)):
        response = live.client.post(
            f"/v1/{endpoint}", files={"image": UPLOAD, "background": ("b.png", b"nothing")}
        )
        assert response.status_code == status


def test_a_blurred_background_is_made_from_the_picture(live: Live) -> None:
    blurred = cutout(live, background="blur")
    original = opened(UPLOAD).astype(int)

    assert blurred.shape == (512, 512, 3)
    assert abs(blurred.mean() - original.mean()) < 4
    clash = live.client.post("/v1/cutout", content=UPLOAD, params={"background": "blur", "crop": "true"})
    assert clash.status_code == 422


def test_a_shadow_is_rendered_below_the_subject(live: Live, plain: NDArray[np.uint8]) -> None:
    shadowed = cutout(live, shadow="drop", shadow_opacity="80")
    solid = plain[:, :, 3] == 255

    assert np.array_equal(shadowed[solid], plain[solid])
    assert (shadowed[:, :, 3] >= plain[:, :, 3]).all()
    assert shadowed[:, :, 3].astype(int).sum() > plain[:, :, 3].astype(int).sum() * 1.02


def test_a_picture_without_a_subject_keeps_its_layout(live: Live) -> None:
    response = live.client.post(
        "/v1/cutout",
        content=jpeg(np.full((60, 80, 3), 128, np.uint8)),
        params={"crop": "true", "margin": "5"},
    )

    assert opened(response.content).shape == (60, 80, 4)
    assert "x-cutout-subject" not in response.headers


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

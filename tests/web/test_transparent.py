"""Pictures and backdrops with transparency, over HTTP, with the real network."""

import numpy as np
import pytest

from tests.pictures import flat, opened, photo, png
from tests.web.conftest import Live

SIZE = (120, 160)
HIDDEN = png(np.dstack([photo(*SIZE), np.zeros(SIZE, np.uint8)]))
GREEN_GLASS = png(np.dstack([flat(*SIZE, (0, 255, 0)), np.full(SIZE, 51, np.uint8)]))


@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout"])
def test_a_fully_transparent_picture_has_no_subject(live: Live, path: str) -> None:
    response = live.client.post(path, content=HIDDEN)
    refused = live.client.post(path, content=HIDDEN, params={"require_foreground": "true"})

    assert (200, "no_foreground") == (response.status_code, response.headers["x-cutout-verdict"])
    assert 0 == opened(response.content).max()
    assert (422, "/problems/no-foreground") == (refused.status_code, refused.json()["type"])


def test_the_network_size_mask_of_a_fully_transparent_picture_is_empty(live: Live) -> None:
    response = live.client.post("/v1/mask", content=HIDDEN, params={"size": "network"})

    assert (320, 320) == opened(response.content).shape
    assert 0 == opened(response.content).max()


def test_removebg_reports_no_foreground_for_a_fully_transparent_picture(live: Live) -> None:
    response = live.client.post("/v1.0/removebg", files={"image_file": ("a.png", HIDDEN)})

    assert (400, "unknown_foreground") == (response.status_code, response.json()["errors"][0]["code"])


@pytest.mark.parametrize(
    ("path", "picture", "backdrop"),
    [("/v1/cutout", "image", "background"), ("/v1.0/removebg", "image_file", "bg_image_file")],
)
def test_a_translucent_backdrop_is_composed_over_white(
    live: Live, path: str, picture: str, backdrop: str
) -> None:
    files = {picture: ("a.png", png(photo(*SIZE))), backdrop: ("b.png", GREEN_GLASS)}
    response = live.client.post(path, files=files, data={"format": "png"})

    assert 200 == response.status_code
    assert [204, 255, 204] == opened(response.content)[0, 0].tolist()


@pytest.mark.parametrize("format", ["jpeg", "JPG", "image/jpeg"])
@pytest.mark.parametrize("channels", ["auto", "rgba"])
def test_a_backdrop_makes_a_jpeg_possible_without_a_colour(live: Live, format: str, channels: str) -> None:  # noqa: A002
    """A JPEG has no transparency, but a picture behind the subject leaves none."""
    files = {"image": ("a.png", HIDDEN), "background": ("b.png", GREEN_GLASS)}
    data = {"format": format, "channels": channels}
    response = live.client.post("/v1/cutout", files=files, data=data)

    assert (200, "image/jpeg") == (response.status_code, response.headers["content-type"])
    assert np.abs(opened(response.content).astype(int) - (204, 255, 204)).max() <= 3


def test_a_mask_request_refuses_a_backdrop(live: Live) -> None:
    files = {"image": ("a.png", HIDDEN), "background": ("b.png", GREEN_GLASS)}
    response = live.client.post("/v1/mask", files=files, data={"format": "jpeg"})

    assert (400, "background") == (response.status_code, response.json()["name"])

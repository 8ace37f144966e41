"""withoutBG's two endpoints accept the requests of its clients, and return what they parse."""

import base64

import httpx
import numpy as np
import pytest

from tests.pictures import jpeg, opened, photo
from tests.web.conftest import Live

PICTURE = jpeg(photo(120, 160))
TEXT = base64.b64encode(PICTURE).decode()


def test_both_endpoints_return_the_alpha_matte(live: Live) -> None:
    plain = live.client.post("/v1/cutout", content=PICTURE, params={"channels": "alpha"}).content
    file = live.client.post("/v1.0/alpha-channel", files={"file": ("image.png", PICTURE, "image/png")})
    text = live.client.post("/v1.0/alpha-channel-base64", json={"image_base64": TEXT})

    assert opened(plain).shape == (120, 160)
    assert (file.headers["content-type"], file.content) == ("image/png", plain)
    assert np.array_equal(opened(base64.b64decode(text.json()["alpha_base64"])), opened(plain))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {}}, 400),
        ({"json": {"image_base64": "%"}}, 400),
        ({"json": {"image_base64": 7}}, 400),
        ({"json": {"image_base64": base64.b64encode(b"junk").decode()}}, 415),
        ({"files": {"file": PICTURE}, "data": {"image_base64": TEXT}}, 400),
        ({"content": PICTURE, "headers": {"Content-Type": "text/plain"}}, 400),
    ],
)
def test_an_error_has_the_members_of_both_clients(live: Live, sent: dict[str, object], status: int) -> None:
    response = httpx.post(f"http://127.0.0.1:{live.port}/v1.0/alpha-channel-base64", **sent)  # type: ignore[arg-type]

    assert response.status_code == status
    assert response.json()["error"] == response.json()["detail"] != ""


def test_both_places_accept_a_model(live: Live) -> None:
    url, files = "/v1.0/alpha-channel", {"file": ("image.png", PICTURE, "image/png")}
    responses = [
        live.client.post(url, files=files, params={"model": name})
        if is_query
        else live.client.post(url, files=files, data={"model": name})
        for name in ("u2netp", "nowhere")
        for is_query in (True, False)
    ]

    assert [response.status_code for response in responses] == [200, 200, 422, 422]

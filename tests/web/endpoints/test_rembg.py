"""rembg's endpoint takes options in form or query, returns PNG, and reports errors that rembg does not."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.web.endpoints.rembg import parse_request
from tests.pictures import opened
from tests.web.conftest import Live

UPLOAD = (Path(__file__).parents[3] / "docs/images/astronaut.jpg").read_bytes()


def post(live: Live, *, query: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return live.client.post(
        "/api/remove", files={"file": ("in.jpg", UPLOAD)}, data=fields, params=query or {}
    )


def of_v1(live: Live, endpoint: str, **options: str) -> bytes:
    return live.client.post(f"/v1/{endpoint}", content=UPLOAD, params=options).content


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {"matting": "none"}),
        ({"model": "u2net"}, {"matting": "none"}),
        ({"model": "bria-rmbg"}, {"matting": "none"}),
        ({"model": "u2netp"}, {"matting": "none", "model": "u2netp"}),
        ({"a": "true"}, {"matting": "fast"}),
        ({"a": "true", "af": "240", "ab": "10", "ae": "10"}, {"matting": "fast"}),
        ({"dc": "true"}, {"matting": "fast"}),
        ({"vm": "True"}, {"matting": "fast"}),
        ({"ppm": "true"}, {"matting": "none", "threshold": "0.5"}),
        ({"bgc": "255,0,0,255"}, {"matting": "none", "background": "#f00"}),
        ({"bgc": "1, 2, 3, 128"}, {"matting": "none", "background": "#01020380"}),
        ({"extras": "{junk"}, {"matting": "none"}),
    ],
    ids=str,
)
def test_an_option_in_form_or_query_has_the_effect_of_the_option_of_v1(
    live: Live, fields: dict[str, str], options: dict[str, str]
) -> None:
    expected = of_v1(live, "cutout", channels="rgba", **options)

    for response in (post(live, **fields), post(live, query=fields)):
        assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
        assert response.content == expected
        assert Image.open(io.BytesIO(response.content)).mode == "RGBA"


def test_the_mask_alone_is_grey_and_may_be_binary(live: Live) -> None:
    soft, hard = post(live, om="true"), post(live, om=True, ppm=True)

    assert {Image.open(io.BytesIO(response.content)).mode for response in (soft, hard)} == {"L"}
    assert soft.content == of_v1(live, "mask")
    assert set(np.unique(opened(hard.content))) == {0, 255}
    assert opened(soft.content).shape == (512, 512)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "isnet-general-use"}, 422),
        ({"model": "xu2netx"}, 422),
        ({"a": "perhaps"}, 422),
        ({"af": "256"}, 422),
        ({"ae": "-1"}, 422),
        ({"bgc": "red"}, 422),
        ({"bgc": "1,2,3"}, 422),
        ({"bgc": "1,2,3,256"}, 422),
    ],
    ids=str,
)
def test_an_invalid_option_gets_an_error(live: Live, fields: dict[str, str], status: int) -> None:
    for response in (post(live, **fields), post(live, query=fields)):
        assert response.status_code == status
        assert isinstance(response.json()["detail"], str)


def test_a_missing_or_invalid_picture_gets_an_error_of_the_client(live: Live) -> None:
    nothing = live.client.post("/api/remove", data={"a": "true"})
    junk = live.client.post("/api/remove", files={"file": ("x", b"junk")})
    get = live.client.get("/api/remove")
    private = live.client.get("/api/remove", params={"url": "http://127.0.0.1/x.png"})

    assert [response.status_code for response in (nothing, junk, get, private)] == [422, 415, 422, 422]
    assert all(response.json()["detail"] for response in (nothing, junk, get, private))


def test_a_model_that_is_not_here_is_refused_with_the_command_that_adds_it(live: Live) -> None:
    refused = {name: post(live, model=name) for name in ("isnet-general-use", "birefnet-portrait", "sam")}
    details = {name: response.json()["detail"] for name, response in refused.items()}

    assert {response.status_code for response in refused.values()} == {422}
    assert details["isnet-general-use"].endswith("cutout models add isnet-general-use")
    assert details["birefnet-portrait"].endswith("cutout models add birefnet-portrait.onnx")
    assert "models add" not in details["sam"]


@pytest.mark.parametrize(("model", "expected"), [("u2net", "u2net"), ("bria-rmbg", None), ("", None)])
def test_a_default_of_rembg_is_used_by_name_if_there_is_such_a_model(
    model: str, expected: str | None
) -> None:
    form = f"model={model}".encode()
    query = [("url", "https://example.org/x.png")]
    parsed = parse_request("application/x-www-form-urlencoded", form, query, has_model={"u2net"}.__contains__)

    assert parsed.options.model == expected

"""Tests remove.bg's API: every parameter with its values, and the bytes and headers of the responses."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.errors import ModelUnavailable
from app.pipeline.build import open_pipeline
from app.settings import Settings
from app.telemetry import Telemetry
from app.web.endpoints.removebg import MEGAPIXELS, PARAMETERS, SHADOWS, TYPE_LEVELS, TYPES, parse_request
from tests.networks import redness_model
from tests.pictures import jpeg, opened, photo
from tests.web.conftest import Live, serving, settings_with

UPLOAD = (Path(__file__).parents[3] / "docs/images/astronaut.jpg").read_bytes()
KEYED = {"X-Api-Key": "k"}


@pytest.fixture(scope="module")
def shop(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The service with a key and a quota of megapixels, like a remove.bg account."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    digest = hashlib.sha256(b"k").hexdigest()
    file.write_text(f'[keys.shop]\nsha256 = "{digest}"\nmegapixels_per_minute = 500\n')
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        access={"keys_file": file},
        limits={"upload_bytes": 2_000_000},
    )
    with serving(settings) as live:
        yield live


def post(live: Live, **fields: Any) -> httpx.Response:
    headers = KEYED | fields.pop("headers", {})
    files = {"image_file": ("in.jpg", fields.pop("upload", UPLOAD)), **fields.pop("files", {})}
    return live.client.post("/v1.0/removebg", files=files, data=fields, headers=headers)


def of_v1(live: Live, **options: str) -> bytes:
    response = live.client.post("/v1/cutout", content=UPLOAD, params=options, headers=KEYED)
    assert response.status_code == 200, response.text
    return response.content


def error_of(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["errors"][0]
    assert error["title"]
    return response.status_code, error["code"]


def test_a_request_without_parameters_returns_a_small_png_with_every_header(shop: Live) -> None:
    response = post(shop)
    cutout = opened(response.content)

    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert response.content == of_v1(
        shop, format="auto", megapixels="0.25", require_foreground="true", report_box="true"
    )
    assert cutout.shape == (500, 500, 4)
    assert (response.headers["x-width"], response.headers["x-height"]) == ("500", "500")
    assert int(response.headers["x-credits-charged"]) == 0
    assert response.headers["x-type"] == "other"
    rows, columns = np.nonzero(cutout[:, :, 3] >= 8)
    assert [int(response.headers[f"x-foreground-{n}"]) for n in ("top", "left", "width", "height")] == [
        rows.min(),
        columns.min(),
        columns.max() + 1 - columns.min(),
        rows.max() + 1 - rows.min(),
    ]
    assert response.headers["x-ratelimit-limit"] == "500"
    assert 400 < int(response.headers["x-ratelimit-remaining"]) <= 500
    assert int(response.headers["x-ratelimit-reset"]) > 1_700_000_000


def bodies() -> dict[str, dict[str, Any]]:
    text = base64.b64encode(UPLOAD).decode()
    return {
        "multipart": {"files": {"image_file": ("x", UPLOAD)}, "data": {"size": "regular", "crop": "true"}},
        "multipart, typed": {
            "files": {"image_file": ("in.png", UPLOAD, "image/png")},
            "data": {"size": "small", "crop": "true"},
        },
        "multipart, no file name": {"files": {"image_file": (None, UPLOAD), "crop": (None, "true")}},
        "urlencoded": {"data": {"image_file_b64": text, "size": "preview", "crop": "true"}},
        "json": {"json": {"image_file_b64": text, "size": "preview", "crop": True, "type": "auto"}},
        "json, chunked": {
            "content": (
                chunk for chunk in [json.dumps({"image_file_b64": text, "crop": "true"}).encode()] * 1
            ),
            "headers": {"Content-Type": "application/json"},
        },
        "base64 in multipart": {"files": {"image_file_b64": (None, text), "crop": (None, "true")}},
    }


@pytest.mark.parametrize("kind", bodies())
def test_every_kind_of_body_gives_the_same_picture(shop: Live, kind: str) -> None:
    sent = bodies()[kind]
    response = shop.client.post("/v1.0/removebg", **{**sent, "headers": KEYED | sent.get("headers", {})})

    assert response.status_code == 200, response.text
    assert response.content == post(shop, crop="true").content


def test_json_is_returned_if_it_is_requested(shop: Live) -> None:
    plain = post(shop)
    data = post(shop, headers={"Accept": "application/json"}).json()["data"]

    assert base64.b64decode(data["result_b64"]) == plain.content
    for name in ("top", "left", "width", "height"):
        assert data[f"foreground_{name}"] == int(plain.headers[f"x-foreground-{name}"])


@pytest.mark.parametrize("size", MEGAPIXELS)
def test_every_size_limits_the_megapixels(shop: Live, size: str) -> None:
    response = post(shop, size=size, format="webp")

    assert int(response.headers["x-width"]) == min(512, int((MEGAPIXELS[size] * 1e6) ** 0.5))


@pytest.mark.parametrize(
    ("chosen", "media_type"),
    [("auto", "image/png"), ("png", "image/png"), ("jpg", "image/jpeg"), ("webp", "image/webp")],
)
def test_every_format_has_its_media_type(shop: Live, chosen: str, media_type: str) -> None:
    response = post(shop, format=chosen)

    assert response.headers["content-type"] == media_type
    assert Image.open(io.BytesIO(response.content)).size == (500, 500)


def test_auto_is_a_jpeg_if_the_result_is_opaque(shop: Live) -> None:
    assert post(shop, bg_color="fff").headers["content-type"] == "image/jpeg"


def test_a_zip_contains_colours_and_grey_alpha_uncompressed(shop: Live) -> None:
    response = post(shop, format="zip")
    alpha = opened(post(shop, format="png").content)[:, :, 3]
    with zipfile.ZipFile(io.BytesIO(response.content)) as bundle:
        assert bundle.namelist() == ["color.jpg", "alpha.png"]
        assert {entry.compress_type for entry in bundle.infolist()} == {zipfile.ZIP_STORED}
        png = bundle.read("alpha.png")
        assert Image.open(io.BytesIO(bundle.read("color.jpg"))).size == (500, 500)

    assert (response.headers["content-type"], png[24:26]) == ("application/zip", b"\x08\x00")
    assert np.array_equal(opened(png), alpha)


SAME_AS_V1 = [
    ({"crop": "true"}, {"crop": "true"}),
    ({"crop": "true", "crop_margin": "10px 5%"}, {"crop": "true", "margin": "10px 5%"}),
    ({"crop": "true", "crop_margin": "1 2 3 4"}, {"crop": "true", "margin": "1 2 3 4"}),
    ({"crop_margin": "30px"}, {}),
    ({"scale": "50%"}, {"scale": "50%"}),
    ({"scale": "original"}, {}),
    ({"position": "center"}, {"position": "center"}),
    ({"position": "10% 90%", "scale": "40%"}, {"position": "10% 90%", "scale": "40%"}),
    ({"roi": "10% 10% 90% 100%"}, {"region": "10% 10% 90% 100%"}),
    ({"roi": "0px 0px 300px 512px"}, {"region": "0 0 300px 512px"}),
    ({"channels": "alpha"}, {"channels": "alpha", "format": "png"}),
    ({"bg_color": "81d4fa"}, {"background": "#81d4fa"}),
    ({"bg_color": "#f00"}, {"background": "red"}),
    ({"bg_color": "green"}, {"background": "green"}),
    ({"bg_color": "81d4fa77"}, {"background": "#81d4fa77"}),
    ({"bg_color": "00000000"}, {}),
    ({"shadow_type": "drop"}, {"shadow": "drop"}),
    ({"shadow_type": "drop", "shadow_opacity": "80"}, {"shadow": "drop", "shadow_opacity": "80"}),
    ({"shadow_type": "none"}, {}),
]


@pytest.mark.parametrize(
    ("parameters", "options"), SAME_AS_V1, ids=lambda value: "&".join(value) or "nothing"
)
def test_a_parameter_has_the_effect_of_the_option_of_v1(
    shop: Live, parameters: dict[str, str], options: dict[str, str]
) -> None:
    expected = {"format": "auto", "megapixels": "0.25", **options}

    assert np.array_equal(opened(post(shop, **parameters).content), opened(of_v1(shop, **expected)))


@pytest.mark.parametrize(
    "parameters",
    [
        *({"type": kind} for kind in TYPES),
        *({"type_level": level} for level in TYPE_LEVELS),
        *({"shadow_type": kind} for kind in SHADOWS if kind != "drop"),
        {"add_shadow": "true"},
        {"semitransparency": "false"},
        {"crop": "false"},
        {"size": "", "format": "", "crop_margin": ""},
        {"test_mode": "whatever"},
    ],
    ids=str,
)
def test_a_parameter_that_is_not_honoured_has_no_effect(shop: Live, parameters: dict[str, str]) -> None:
    assert post(shop, **parameters).content == post(shop).content


def test_the_type_is_the_declared_one_or_other(shop: Live) -> None:
    assert post(shop, type="car").headers["x-type"] == "car"
    assert "x-type" not in post(shop, type_level="none").headers


def test_a_background_may_be_a_picture(shop: Live) -> None:
    behind = np.full((500, 500, 3), (10, 200, 30), np.uint8)
    over = post(shop, format="png", files={"bg_image_file": ("b.png", _png(behind))})
    cutout = opened(post(shop, format="png").content)

    alpha = cutout[:, :, 3:] / 255
    assert np.abs(opened(over.content) - (cutout[:, :, :3] * alpha + behind * (1 - alpha))).max() <= 1


def test_a_background_covers_and_is_centred(shop: Live) -> None:
    behind = np.zeros((100, 300, 3), np.uint8)
    behind[:, 100:200] = 255
    over = opened(post(shop, format="png", files={"bg_image_file": ("b.png", _png(behind))}).content)
    bare = opened(post(shop, format="png").content)[:, :, 3] == 0

    assert over[:, 10:-10][bare[:, 10:-10]].min() > 250


INVALID = [
    ({"size": "huge"}, "invalid_size"),
    ({"type": "ghost"}, "invalid_type"),
    ({"type_level": "3"}, "invalid_type_level"),
    ({"format": "gif"}, "invalid_format"),
    ({"roi": "1 2 3"}, "invalid_roi"),
    ({"roi": "0 0 9999 10"}, "roi_exceeds_bounds"),
    ({"roi": "0 0 101% 10"}, "roi_exceeds_bounds"),
    ({"roi": "5 5 5 5"}, "roi_region_empty"),
    ({"crop": "perhaps"}, "invalid_crop"),
    ({"crop_margin": "1 2 3"}, "invalid_crop_margin"),
    ({"crop_margin": "51%"}, "invalid_crop_margin"),
    ({"crop_margin": "501px"}, "invalid_crop_margin"),
    ({"scale": "5%"}, "invalid_scale"),
    ({"position": "left"}, "invalid_position"),
    ({"channels": "red"}, "invalid_channels"),
    ({"add_shadow": "x"}, "invalid_add_shadow"),
    ({"shadow_type": "neon"}, "invalid_shadow_type"),
    ({"shadow_opacity": "101"}, "invalid_shadow_opacity"),
    ({"semitransparency": "x"}, "invalid_semitransparency"),
    ({"model": "../u2net"}, "invalid_model"),
    ({"bg_color": "nope"}, "invalid_bg_color"),
    ({"bg_color": "12345"}, "invalid_bg_color"),
    ({"bg_color": "red", "bg_image_url": "http://x/"}, "multiple_bg_sources"),
    ({"bg_image_url": "http://x.invalid/"}, "failed_image_download"),
    ({"image_url": "http://x.invalid/"}, "multiple_sources"),
    ({"upload": b"nothing"}, "invalid_file_type"),
    ({"upload": UPLOAD[:-900]}, "failed_to_read_image"),
    ({"upload": bytes(2_000_001)}, "file_too_large"),
    ({"upload": jpeg(np.full((60, 80, 3), 128, np.uint8))}, "unknown_foreground"),
]


@pytest.mark.parametrize(
    ("fields", "code"), INVALID, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_invalid_request_gets_the_error_code_of_remove_bg(
    shop: Live, fields: dict[str, Any], code: str
) -> None:
    assert error_of(post(shop, **fields)) == (400, code)


def test_every_parameter_has_an_invalid_value() -> None:
    codes = {code for _, code in INVALID}

    assert {parameter.code for parameter in PARAMETERS.values()} <= codes


def test_a_request_without_a_picture_is_refused(shop: Live) -> None:
    for sent in ({"data": {"size": "auto"}}, {"json": {}}, {"files": {"image_file": ("x", b"")}}, {}):
        response = shop.client.post("/v1.0/removebg", headers=KEYED, **sent)
        error = response.json()["errors"][0]
        assert (response.status_code, error["code"], error["title"]) == (
            400,
            "missing_source",
            "No image given",
        )
        assert error["detail"].startswith("Please provide the source image")


def test_a_picture_by_url_needs_the_operators_permission(shop: Live) -> None:
    response = shop.client.post("/v1.0/removebg", headers=KEYED, data={"image_url": "http://x.invalid/"})

    assert error_of(response) == (400, "failed_image_download")


@pytest.mark.parametrize(
    ("key", "title"),
    [({}, "Missing API Key"), ({"X-Api-Key": "wrong"}, "API Key invalid")],
    ids=["none", "wrong"],
)
def test_a_request_without_a_valid_key_is_refused(shop: Live, key: dict[str, str], title: str) -> None:
    for method, path in (("POST", "/v1.0/removebg"), ("GET", "/v1.0/account"), ("POST", "/v1.0/improve")):
        response = shop.client.request(method, path, headers=key)
        assert (*error_of(response), response.json()["errors"][0]["title"]) == (403, "auth_failed", title)


def test_an_exhausted_quota_returns_retry_after(models_dir: Path) -> None:
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        access={"key_hashes": hashlib.sha256(b"k").hexdigest(), "megapixels_per_minute": 0.3},
    )
    with serving(settings) as live:
        first, second = post(live), post(live)

    assert first.status_code == 200
    assert error_of(second) == (429, "rate_limit_exceeded")
    assert int(second.headers["retry-after"]) > 0


def test_the_account_has_the_members_that_clients_require(shop: Live) -> None:
    attributes = shop.client.get("/v1.0/account", headers=KEYED).json()["data"]["attributes"]

    assert set(attributes) == {"credits", "api"}
    assert set(attributes["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert set(attributes["api"]) == {"free_calls", "sizes"}
    assert attributes["credits"]["total"] > 0


def test_a_picture_for_improvement_is_accepted(shop: Live) -> None:
    response = shop.client.post(
        "/v1.0/improve", headers=KEYED, files={"image_file": ("x", UPLOAD)}, data={"tag": "t"}
    )

    assert (response.status_code, set(response.json())) == (200, {"id"})
    assert error_of(shop.client.post("/v1.0/improve", headers=KEYED, data={"tag": "t"})) == (
        400,
        "missing_source",
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_large_picture_as_png_has_at_most_ten_megapixels(shop: Live) -> None:
    upload = jpeg(photo(3400, 3600), quality=30)
    assert len(upload) < 2_000_000

    sizes = {
        chosen: post(shop, upload=upload, size="full", format=chosen).headers for chosen in ("png", "webp")
    }
    pixels = {chosen: int(h["x-width"]) * int(h["x-height"]) for chosen, h in sizes.items()}
    assert 9_900_000 < pixels["png"] <= 10_000_000
    assert pixels["webp"] == 3400 * 3600


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"type": "person"}, "modnet"),
        ({"type": "car"}, None),
        ({}, None),
        ({"type": "person", "model": "u2netp"}, "u2netp"),
    ],
)
def test_a_type_selects_the_operators_model_for_it(sent: dict[str, str], expected: str | None) -> None:
    query = [("image_url", "https://example.org/x.png"), *sent.items()]
    parsed = parse_request("", b"", query, model_for={"person": "modnet"}.get)

    assert parsed.options.model == expected


@pytest.mark.process
def test_a_model_for_a_type_is_used(tmp_path: Path) -> None:
    for name in ("u2netp", "other"):
        redness_model(tmp_path, name)
    with serving(settings_with(tmp_path, model_for={"car": "other"})) as live:
        live.client.post("/v1.0/removebg", files={"image_file": UPLOAD}, data={"type": "car"})
        models = [model["name"] for model in live.client.get("/v1/models").json()["models"]]

    assert models == ["u2netp", "other"]


def test_the_start_fails_without_a_model_for_a_type(models_dir: Path) -> None:
    with pytest.raises(ModelUnavailable) as failure:
        open_pipeline(settings_with(models_dir, model_for={"person": "modnet"}), Telemetry())

    assert "CUTOUT_MODEL_FOR__PERSON=modnet, but" in failure.value.reason
    assert failure.value.reason.endswith("cutout models add modnet")

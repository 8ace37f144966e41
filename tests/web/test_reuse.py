"""Reuse of earlier results: entity tags, the cache, idempotency keys, and masks of the caller."""

import base64
import email
import email.policy
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.settings import Settings
from tests.pictures import opened
from tests.web.conftest import Live, serving

UPLOAD = (Path(__file__).parents[2] / "docs/images/astronaut.jpg").read_bytes()


def runs(live: Live) -> float:
    """Return the number of pictures that the network has processed."""
    samples = [s for family in live.service.telemetry.registry.collect() for s in family.samples]
    return sum(s.value for s in samples if s.name == "cutout_batch_size_sum")


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("endpoint", ["mask", "cutout"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_matching_etag_gives_304_without_inference(live: Live, endpoint: str, accept: str) -> None:
    path, headers = f"/v1/{endpoint}", {"Accept": accept}
    first = live.client.post(path, content=UPLOAD, headers=headers)
    before = runs(live)
    tag = first.headers["etag"]
    again = live.client.post(
        path, content=UPLOAD, headers={**headers, "If-None-Match": f'"{"0" * 32}", {tag}'}
    )

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "admit" in again.headers["server-timing"]
    assert runs(live) == before


@pytest.mark.parametrize(
    ("params", "headers"),
    [
        ({"format": "webp"}, {}),
        ({}, {"Accept": "application/json"}),
        ({"quality": "80"}, {}),
    ],
    ids=str,
)
def test_a_different_response_is_computed_despite_an_etag(
    live: Live, params: dict[str, str], headers: dict[str, str]
) -> None:
    tag = live.client.post("/v1/mask", content=UPLOAD).headers["etag"]
    other = live.client.post(
        "/v1/mask", content=UPLOAD, params=params, headers={**headers, "If-None-Match": tag}
    )

    assert (other.status_code, bool(other.content)) == (200, True)
    assert other.headers["etag"] != tag


def test_an_invalid_etag_is_ignored(live: Live) -> None:
    for header in ("*", "", "junk", 'W/"' + "0" * 32 + '"'):
        response = live.client.post("/v1/mask", content=UPLOAD, headers={"If-None-Match": header})
        assert response.status_code == 200


def test_the_mask_of_a_picture_gives_its_cutout_without_the_network(live: Live) -> None:
    mask = live.client.post("/v1/mask", content=UPLOAD).content
    options = {"matting": "none", "haze": "keep"}  # a caller's own mask is never decided
    plain = opened(live.client.post("/v1/cutout", content=UPLOAD, params=options).content)
    before = runs(live)
    files = {"image": UPLOAD, "mask": ("mask.png", mask)}
    response = live.client.post("/v1/cutout", files=files, data={"matting": "none"})
    text = {"image": base64.b64encode(UPLOAD).decode(), "mask": base64.b64encode(mask).decode()}
    in_json = live.client.post("/v1/cutout", json={**text, "matting": "none"})

    cutout, shows = opened(response.content).astype(int), plain[:, :, 3] > 2
    assert np.abs(cutout[:, :, 3] - plain[:, :, 3]).max() <= 2  # the mask was rounded
    assert np.array_equal(cutout[shows][:, :3], plain[shows][:, :3])
    assert in_json.content == response.content
    assert response.headers["x-cutout-provider"] == "none"
    assert runs(live) == before


def test_a_trimap_is_solved_only_in_its_unknown_band(live: Live) -> None:
    trimap = np.zeros((512, 512), np.uint8)
    trimap[100:400, 100:400] = 128
    trimap[200:300, 200:300] = 255
    files = {"image": UPLOAD, "mask": ("trimap.png", png(trimap))}
    alpha = opened(live.client.post("/v1/cutout", files=files).content)[:, :, 3]

    assert (alpha[220:280, 220:280] == 255).all()
    assert (alpha[:80] == 0).all()
    assert 0 < alpha[110:390, 110:390].mean() < 255


def test_a_mask_may_be_smaller_but_must_have_the_aspect_ratio_of_the_picture(live: Live) -> None:
    half = png(np.full((256, 256), 255, np.uint8))
    wide = png(np.full((256, 300), 255, np.uint8))
    responses = [
        live.client.post("/v1/cutout", files={"image": UPLOAD, "mask": ("m.png", mask)})
        for mask in (half, wide)
    ]

    assert (opened(responses[0].content)[:, :, 3] == 255).all()
    assert (responses[1].status_code, responses[1].json()["type"]) == (422, "/problems/mask-does-not-fit")
    assert responses[1].json()["mask_px"] == [300, 256]


def test_an_empty_mask_gives_an_empty_cutout(live: Live) -> None:
    files = {"image": UPLOAD, "mask": ("m.png", png(np.zeros((64, 64), np.uint8)))}
    response = live.client.post("/v1/cutout", files=files)

    assert not opened(response.content).any()
    assert response.headers["x-cutout-verdict"] == "no_foreground"
    required = live.client.post("/v1/cutout", files=files, data={"require_foreground": "true"})
    assert (required.status_code, required.json()["type"]) == (422, "/problems/no-foreground")


def test_a_mask_and_a_region_exclude_each_other_and_a_mask_has_no_background(live: Live) -> None:
    files = {"image": UPLOAD, "mask": ("m.png", png(np.zeros((64, 64), np.uint8)))}

    assert live.client.post("/v1/cutout", files=files, data={"region": "0 0 9 9"}).status_code == 422
    assert live.client.post("/v1/mask", files={**files, "background": UPLOAD}).status_code == 400


def test_a_mask_of_a_mask_is_returned_as_it_is(live: Live) -> None:
    mask = np.random.default_rng(0).integers(0, 256, opened(UPLOAD).shape[:2], dtype=np.uint8)
    files = {"image": UPLOAD, "mask": ("m.png", png(mask))}
    response = live.client.post("/v1/mask", files=files)

    assert response.headers["x-cutout-provider"] == "none"
    assert np.abs(opened(response.content).astype(int) - mask).max() <= 1


def test_a_cached_result_is_reused(models_dir: Path) -> None:
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        cache_bytes=10_000_000,
    )
    with serving(settings) as live:
        first = live.client.post("/v1/cutout", content=UPLOAD)
        before = runs(live)
        again = live.client.post("/v1/cutout", content=UPLOAD)
        other = live.client.post("/v1/cutout", content=UPLOAD, params={"crop": "true"})

    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert [response.headers.get("x-cutout-cache") for response in (first, again, other)] == [
        None,
        "hit",
        None,
    ]
    assert runs(live) == before + 1


def test_nothing_is_cached_by_default(live: Live) -> None:
    responses = [live.client.post("/v1/mask", content=UPLOAD) for _ in range(2)]

    assert not any("x-cutout-cache" in response.headers for response in responses)


def test_mask_and_cutout_are_returned_in_one_response(live: Live) -> None:
    mask = live.client.post("/v1/mask", content=UPLOAD).content
    cutout = live.client.post("/v1/cutout", content=UPLOAD, params={"format": "webp"}).content
    before = runs(live)
    params = {"format": "webp", "results": "cutout,mask"}
    response = live.client.post("/v1/cutout", content=UPLOAD, params=params)
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + response.content, policy=email.policy.HTTP).iter_parts()
    found = {
        part.get_param("name", header="content-disposition"): (
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in parts
    }

    assert found == {"cutout": ("image/webp", cutout), "mask": ("image/png", mask)}
    assert runs(live) == before + 1


def test_mask_and_cutout_are_returned_in_one_json_response(live: Live) -> None:
    mask = live.client.post("/v1/mask", content=UPLOAD).content
    params = {"results": "mask,cutout"}
    response = live.client.post(
        "/v1/cutout", content=UPLOAD, params=params, headers={"Accept": "application/json"}
    )
    plain = live.client.post("/v1/cutout", content=UPLOAD)

    assert base64.b64decode(response.json()["mask"]) == mask
    assert base64.b64decode(response.json()["image"]) == plain.content


@pytest.mark.parametrize("clash", [{"region": "0 0 50% 50%"}, {"megapixels": "0.1"}], ids=str)
def test_a_mask_with_a_cutout_requires_the_whole_picture(live: Live, clash: dict[str, str]) -> None:
    response = live.client.post("/v1/cutout", content=UPLOAD, params={"results": "mask,cutout", **clash})
    assert (response.status_code, response.json()["name"]) == (422, "results")

    files = {"image": UPLOAD, "mask": ("m.png", png(np.zeros((64, 64), np.uint8)))}
    with_mask = live.client.post("/v1/cutout", files=files, data={"results": "mask,cutout"})
    assert (with_mask.status_code, with_mask.json()["name"]) == (422, "results")


WITH_KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


def test_a_repeated_idempotency_key_returns_the_cached_result_without_charge(models_dir: Path) -> None:
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        access={"key_hashes": hashlib.sha256(b"key").hexdigest(), "megapixels_per_minute": 0.3},
        cache_bytes=10_000_000,
    )
    with serving(settings) as live:
        headers = {**WITH_KEY, "X-Api-Key": "key"}
        first = live.client.post("/v1/cutout", files={"image": UPLOAD}, headers=headers)
        again = live.client.post("/v1/cutout", files={"image": UPLOAD}, headers=headers)
        charged = live.client.post("/v1/cutout", files={"image": UPLOAD}, headers={"X-Api-Key": "key"})

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["x-cutout-cache"] == "hit"
    assert charged.status_code == 429


def test_a_repeated_idempotency_key_without_a_cache_gives_the_same_result(live: Live) -> None:
    headers = {"Idempotency-Key": "not-cached"}
    responses = [live.client.post("/v1/mask", content=UPLOAD, headers=headers) for _ in range(2)]

    assert responses[0].content == responses[1].content


@pytest.mark.parametrize("other", [{"params": {"quality": "7"}}, {"content": UPLOAD + b"\0"}], ids=str)
def test_an_idempotency_key_reused_for_another_request_is_refused(live: Live, other: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": f"one-{len(str(other))}"}
    assert live.client.post("/v1/mask", content=UPLOAD, headers=headers).status_code == 200
    response = live.client.post("/v1/mask", **{"content": UPLOAD, "headers": headers, **other})

    assert (response.status_code, response.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_a_request_in_progress_is_not_started_again(live: Live) -> None:
    headers = {"Idempotency-Key": "at-once"}

    def post(_: int) -> httpx.Response:
        return live.client.post("/v1/cutout", content=UPLOAD, params={"matting": "hq"}, headers=headers)

    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(post, range(2)))

    assert sorted(response.status_code for response in responses) == [200, 409]
    refused = next(response for response in responses if response.status_code == 409)
    assert (refused.json()["type"], refused.headers["retry-after"]) == ("/problems/request-in-progress", "1")
    assert post(0).status_code == 200


@pytest.mark.parametrize("name", ["", "two words", "x" * 256, "caf\u00e9"])
def test_an_invalid_idempotency_key_is_refused(live: Live, name: str) -> None:
    response = live.client.post(
        "/v1/mask", content=UPLOAD, headers={"Idempotency-Key": name.encode("latin-1")}
    )
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")

"""What a request costs: budgets, the quotas of its key, and its deadline."""

import hashlib
import io
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.settings import Settings
from tests.pictures import jpeg, noise, opened, photo, png
from tests.web.conftest import Live, serving

MEGAPIXELS, REQUESTS = 20.0, 10.0
TENSOR = np.full((1, 320, 320, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def keyed(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The service with many keys of 20 megapixels and 10 requests a minute, a small budget, and a cache."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    tables = (
        f'[keys.key{n}]\nsha256 = "{hashlib.sha256(f"key{n}".encode()).hexdigest()}"\n'
        f"megapixels_per_minute = {MEGAPIXELS}\nrequests_per_minute = {REQUESTS}\n"
        for n in range(40)
    )
    small = f'[keys.small]\nsha256 = "{hashlib.sha256(b"small").hexdigest()}"\nmegapixels_per_minute = 4\n'
    file.write_text(small + "".join(tables))
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        access={"keys_file": file},
        cache_bytes=10**8,
        memory_budget=700_000_000,
    )
    with serving(settings) as served:
        yield served


KEYS = iter(f"key{n}" for n in range(40))


def check_paid(response: httpx.Response, resource: str, quota: float, price: float) -> None:
    """Check the cost of the first request of a key; some of the quota was refilled while it was processed."""
    assert response.status_code == 200, response.text
    entries = dict(part.strip().split(";", 1) for part in response.headers["ratelimit"].split(","))
    left = float(entries[f'"{resource}"'].split(";")[0].removeprefix("r="))
    meanwhile = response.elapsed.total_seconds() * quota / 60

    assert quota - price - 1 <= left <= quota - price + meanwhile


def small_png(width: int, height: int, grey: int = 200) -> bytes:
    return png(np.full((height, width), grey, np.uint8))


def jpeg_of(width: int, height: int) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(encoded, "JPEG", quality=30)
    return encoded.getvalue()


WHOLE = small_png(1000, 1000, 255)
SIX = jpeg_of(3000, 2000)


@pytest.mark.parametrize(
    ("files", "options", "megapixels"),
    [
        ({}, {}, 1),
        ({"mask": small_png(3000, 3000, 255)}, {}, 1 + 9),
        ({"background": SIX}, {}, 1 + 6),
        ({"mask": WHOLE, "background": SIX}, {}, 1 + 1 + 6),
        ({"mask": WHOLE}, {"crop": "true", "margin": "50%"}, 4 + 1),
        ({"mask": WHOLE}, {"crop": "true", "margin": "500px 0"}, 2 + 1),
        ({"mask": WHOLE}, {"megapixels": "0.1"}, 1 + 1),
        ({"mask": WHOLE}, {"scale": "50%", "shadow": "drop"}, 1 + 1),
    ],
)
def test_a_key_is_charged_for_the_larger_of_picture_and_canvas_and_for_each_extra_picture(
    keyed: Live, files: dict[str, bytes], options: dict[str, str], megapixels: float
) -> None:
    sent = {"image": jpeg_of(1000, 1000), **files}
    parts = {name: (name, content, "image/png") for name, content in sent.items()}
    response = keyed.client.post("/v1/cutout", files=parts, data=options, headers={"X-Api-Key": next(KEYS)})

    check_paid(response, "megapixels", MEGAPIXELS, megapixels)


def test_a_crop_is_charged_for_its_actual_canvas_and_not_for_the_largest_possible(
    keyed: Live,
) -> None:
    mask = np.zeros((1500, 1500), np.uint8)
    mask[700:900, 700:900] = 255
    parts = {"image": jpeg_of(1500, 1500), "mask": png(mask)}
    response = keyed.client.post(
        "/v1/cutout",
        files={name: (name, content, "image/png") for name, content in parts.items()},
        data={"crop": "true", "margin": "50%"},
        headers={"X-Api-Key": next(KEYS)},
    )

    assert opened(response.content).shape[:2] == pytest.approx((400, 400), abs=8)
    check_paid(response, "megapixels", MEGAPIXELS, 2 * 1.5**2)


def test_a_crop_is_not_free_for_a_key_with_a_small_quota(keyed: Live) -> None:
    """Its largest canvas costs the whole quota; the refund is the difference to the picture."""
    mask = np.zeros((1300, 1300), np.uint8)
    mask[700:710, 700:710] = 255
    files: Any = {"image": ("a", jpeg_of(1300, 1300), "image/jpeg"), "mask": ("m", png(mask), "image/png")}
    options = {"crop": "true", "margin": "50%", "matting": "none"}
    response = keyed.client.post("/v1/cutout", files=files, data=options, headers={"X-Api-Key": "small"})

    check_paid(response, "megapixels", 4, 2 * 1.3**2)


def test_a_canvas_that_was_not_made_is_not_charged(keyed: Live) -> None:
    headers = {"X-Api-Key": next(KEYS)}
    files: Any = {"image": ("a", jpeg_of(1000, 1000), "image/jpeg")}
    files["mask"] = ("m", small_png(1000, 1000, 0), "image/png")
    options = {"crop": "true", "margin": "50%", "require_foreground": "true"}
    response = keyed.client.post("/v1/cutout", files=files, data=options, headers=headers)

    assert response.status_code == 422
    left = float(response.headers["ratelimit"].split('"megapixels";r=')[1].split(";")[0])
    assert left >= MEGAPIXELS - 2 - 1


def test_a_zip_with_a_background_is_refused(live: Live) -> None:
    parts = {"image": jpeg_of(60, 50), "background": jpeg_of(30, 40)}
    files: Any = {name: (name, content, "image/jpeg") for name, content in parts.items()}
    response = live.client.post("/v1/cutout", files=files, data={"format": "zip"})

    assert problem_of(response) == (422, "invalid-option")
    assert response.json()["name"] == "format"


def test_a_response_counts_in_the_memory_budget_until_it_is_read(live: Live) -> None:
    """If the client does not read its response, the response stays in memory."""
    files: Any = {"image": ("a", png(noise((1100, 1000, 3))), "image/png")}
    files["mask"] = ("m", small_png(1000, 1100, 255), "image/png")
    request = live.client.build_request("POST", "/v1/cutout?matting=none", files=files)
    body = request.read()
    head = (
        f"POST /v1/cutout?matting=none HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: {request.headers['content-type']}\r\n\r\n"
    )
    admission = live.service.admission
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", live.port))
        client.sendall(head.encode() + body)
        assert client.recv(12) == b"HTTP/1.1 200"
        held = admission.requests, admission.memory_bytes
    give_up_at_s = time.monotonic() + 60
    while admission.memory_bytes and time.monotonic() < give_up_at_s:
        time.sleep(0.02)

    assert held[0] == 0
    assert held[1] > 10_000
    assert admission.memory_bytes == 0


@pytest.mark.parametrize("count", [1, 3])
def test_each_tensor_of_a_request_counts_as_a_request(keyed: Live, count: int) -> None:
    described = {
        "name": "network_input",
        "datatype": "UINT8",
        "shape": [count, 320, 320, 3],
        "parameters": {"binary_data_size": count * 320 * 320 * 3},
    }
    outputs = [{"name": "saliency", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [described], "outputs": outputs}).encode()
    response = keyed.client.post(
        "/v2/models/u2netp/infer",
        content=head + TENSOR.tobytes() * count,
        headers={"Inference-Header-Content-Length": str(len(head)), "X-Api-Key": next(KEYS)},
    )

    check_paid(response, "requests", REQUESTS, count)


def test_the_cache_of_one_key_is_not_used_for_another(keyed: Live) -> None:
    upload = jpeg(photo(60, 70))
    mine, other = ({"X-Api-Key": next(KEYS)} for _ in range(2))
    responses = [
        keyed.client.post("/v1/cutout", content=upload, headers=key) for key in (mine, mine, other, other)
    ]

    assert [None, "hit", None, "hit"] == [response.headers.get("x-cutout-cache") for response in responses]
    assert len({response.content for response in responses}) == 1


def problem_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("/problems/")


@pytest.mark.parametrize(
    ("width", "height", "options", "slug"),
    [
        (3600, 3500, {"crop": "true", "margin": "500px"}, "canvas-too-large"),  # beyond 13 megapixels
        (16_000, 10, {"crop": "true", "margin": "0 500px"}, "canvas-too-large"),  # beyond a side of 16,384
        (10, 16_000, {"crop": "true", "margin": "500px 0", "shadow": "drop"}, "canvas-too-large"),
        (16_384, 2, {"format": "webp"}, "format-exceeded"),
        (2, 16_384, {"format": "webp", "background": "red"}, "format-exceeded"),
        (15_399, 2, {"format": "webp", "crop": "true", "margin": "0 495px 0 490px"}, "format-exceeded"),
    ],
)
def test_a_canvas_that_is_too_large_is_refused(
    live: Live, width: int, height: int, options: dict[str, str], slug: str
) -> None:
    parts = {"image": jpeg_of(width, height), "mask": small_png(width, height, 255)}
    files = {name: (name, content, "image/png") for name, content in parts.items()}
    response = live.client.post("/v1/cutout", files=files, data=options)

    assert problem_of(response) == (422, slug)


def test_a_mask_too_large_for_its_format_is_refused(live: Live) -> None:
    response = live.client.post("/v1/mask", content=jpeg_of(16_384, 1), params={"format": "webp"})

    assert problem_of(response) == (422, "format-exceeded")
    assert (response.json()["name"], response.json()["side_px"]) == ("format", 16_384)
    at_network_size = {"format": "webp", "size": "network"}
    assert live.client.post("/v1/mask", content=jpeg_of(16_384, 1), params=at_network_size).status_code == 200


@pytest.mark.parametrize(
    ("path", "field", "fields", "status"),
    [
        ("/v1/cutout", "image", {"format": "webp", "quality": "100", "channels": "alpha"}, 422),
        (
            "/v1/cutout",
            "image",
            {"format": "webp", "region": "0 0 9px 1px"},
            422,
        ),  # the canvas is not cropped
        ("/v1/cutout", "image", {"format": "webp", "scale": "10%", "results": "mask,cutout"}, 422),
        ("/v1/cutout", "image", {"format": "webp", "megapixels": "0.016383"}, 200),
        ("/v1/mask", "image", {"format": "webp", "threshold": "0.5"}, 422),
        ("/v1/cutout", "image", {"format": "auto", "background": "white"}, 200),
        ("/v1.0/removebg", "image_file", {"format": "webp"}, 400),
    ],
)
def test_a_size_too_large_for_webp_is_refused_in_every_dialect(
    live: Live, path: str, field: str, fields: dict[str, str], status: int
) -> None:
    files = {field: ("a.jpg", jpeg_of(16_384, 1), "image/jpeg")}
    response = live.client.post(path, files=files, data=fields)

    assert status == response.status_code, response.text
    if status != 200:
        assert "format=webp" in response.text
        assert "16384" in response.text


def test_a_request_over_the_whole_memory_budget_is_refused_without_retry(keyed: Live) -> None:
    headers = {"X-Api-Key": next(KEYS)}
    upload = jpeg_of(4000, 3000)
    large = keyed.client.post("/v1/cutout", content=upload, params={"format": "avif"}, headers=headers)
    plain = keyed.client.post("/v1/cutout", content=upload, headers=headers)

    assert problem_of(large) == (422, "request-too-large")
    assert large.json()["needed_bytes"] > large.json()["limit_bytes"]
    assert plain.status_code == 200


def test_a_504_is_sent_at_the_deadline_and_the_running_step_keeps_the_permit(live: Live) -> None:
    """Encoding an AVIF of 12 megapixels takes most of a request, in one call that cannot be interrupted."""
    parts = {"image": jpeg_of(4000, 3000), "mask": small_png(4000, 3000, 255)}
    files: Any = {name: (name, content, "image/png") for name, content in parts.items()}
    request: Any = {"files": files, "data": {"format": "avif", "quality": "100", "matting": "none"}}
    began_s = time.monotonic()
    assert live.client.post("/v1/cutout", **request).status_code == 200
    half_ms = round(500 * (time.monotonic() - began_s))
    response = live.client.post("/v1/cutout", **request, headers={"X-Request-Timeout-Ms": str(half_ms)})
    held = live.service.admission.requests, live.service.admission.memory_bytes > 0

    assert problem_of(response) == (504, "deadline-exceeded")
    assert held == (1, True)
    give_up_at_s = time.monotonic() + 120
    while live.service.admission.requests and time.monotonic() < give_up_at_s:
        time.sleep(0.02)
    admission = live.service.admission
    assert (admission.requests, admission.pixels, admission.memory_bytes) == (0, 0, 0)
    assert admission.upload_bytes == 0

import math
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from app.errors import MalformedRequest
from app.web.load_shedding import allowed_seconds
from tests.pictures import jpeg, photo
from tests.web.conftest import Live

UPLOAD = jpeg(photo(40, 30))


@contextmanager
def overload(live: Live) -> Iterator[None]:
    """Fill the queue with more pictures than any deadline allows."""
    pipeline = live.service.pipeline
    assert pipeline is not None
    with pipeline.admission.wait_estimator.counting(pipeline.models.default, 10**9):
        yield


@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout", "/v1/mask?unknown=1"])
def test_under_overload_requests_are_refused_before_upload_and_options_are_read(
    live_u2netp: Live, path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    with overload(live_u2netp), socket.create_connection(("127.0.0.1", live_u2netp.port), timeout=60) as peer:
        peer.sendall(head.encode())
        response = peer.recv(65536)

    assert response.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in response.lower()
    assert live_u2netp.service.admission.requests == 0


def test_a_request_whose_picture_is_unknown_counts_as_those_before(live: Live) -> None:
    """Otherwise most requests are refused only after they were read, for the pixels that they have."""
    pipeline = live.service.pipeline
    assert pipeline is not None
    estimator = pipeline.admission.wait_estimator
    known_s, picture = estimator.seconds_per_pixel, jpeg(photo(200, 300))
    live.client.post("/v1/mask", content=picture, headers={"Content-Type": "image/jpeg"})
    head = b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    estimator.seconds_per_pixel = 1.0
    try:
        with (
            estimator.counting(pipeline.models.default),
            socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer,
        ):
            peer.sendall(head)
            response = peer.recv(65536)
    finally:
        estimator.seconds_per_pixel = known_s

    assert response.startswith(b"HTTP/1.1 503 ")


def test_too_many_requests_are_refused_before_they_are_read(live: Live) -> None:
    admission = live.service.admission
    head = b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    with ExitStack() as permits, socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        for _ in range(admission.budget.requests):
            permits.enter_context(admission.enter())
        peer.sendall(head)
        response = peer.recv(65536)

    assert response.startswith(b"HTTP/1.1 503 ")


def test_requests_without_a_picture_are_served_under_overload(live: Live) -> None:
    with overload(live):
        responses = [live.client.get(path).status_code for path in ("/v1/models", "/v1/mask", "/readyz")]

    assert responses == [200, 405, 200]


@given(st.integers(1, 10**10 - 1), st.floats(0.001, 3600))
def test_the_time_limit_is_the_requested_one_capped_by_the_server(requested_ms: int, max_s: float) -> None:
    allowed_s = allowed_seconds(Headers({"X-Request-Timeout-Ms": str(requested_ms)}), max_s)

    assert math.isclose(allowed_s, min(requested_ms / 1000, max_s))
    assert allowed_seconds(Headers(), max_s) == max_s


@pytest.mark.parametrize("text", ["0000000000000250", "0250"])
def test_zeros_before_a_time_limit_have_no_meaning(text: str) -> None:
    assert allowed_seconds(Headers({"X-Request-Timeout-Ms": text}), 60.0) == 0.25


@pytest.mark.parametrize(
    "path",
    ["/v1/mask", "/v1/cutout", "/v1/batch", "/v1.0/removebg", "/api/remove", "/v2/models/u2netp/infer"],
)
def test_a_path_with_a_line_break_is_refused(live: Live, path: str) -> None:
    """The router would serve it, although no layer around it knows the path, and without a deadline."""
    response = live.client.post(f"{path}%0A", content=UPLOAD)

    assert response.status_code == 400
    assert "The path has a line break." in response.text


@given(st.text().filter(lambda text: not (text.isascii() and text.isdigit())))
def test_an_invalid_timeout_header_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRequest):
        allowed_seconds(Headers(raw=[(b"x-request-timeout-ms", text.encode("utf-8"))]), 1.0)

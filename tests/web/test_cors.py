"""Preflight requests, and the CORS headers of responses to pages of other origins."""

import re
from collections.abc import Callable

import httpx
import pytest
from httpx import ASGITransport
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings
from app.web.cors import EXPOSED
from app.web.strict_http import HEAD_BYTES
from tests.pictures import jpeg, photo
from tests.web.conftest import Live
from tests.web.stub_server import StubServer

SHOP, OTHER = "https://shop.example", "https://shop.example.evil.example"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def client() -> httpx.AsyncClient:
    """The application without its models, with keys and two allowed origins."""
    settings = Settings(
        web={"cors_origins": f"https://other.example:8443, {SHOP}"}, access={"key_hashes": "ab" * 32}
    )
    return httpx.AsyncClient(transport=ASGITransport(create_app(settings)), base_url="http://here")


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key, content-type",
    }


async def test_a_preflight_of_an_allowed_origin_needs_no_key(client: httpx.AsyncClient) -> None:
    response = await client.options("/v1/cutout", headers=preflight(SHOP))

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == SHOP
    assert "x-api-key" in response.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    "names",
    ["x-requested-with", "content-type, sentry-trace, baggage", "traceparent,tracestate", "cache-control"],
)
async def test_an_allowed_page_may_send_any_header(client: httpx.AsyncClient, names: str) -> None:
    headers = preflight(SHOP) | {"Access-Control-Request-Headers": names}
    response = await client.options("/v1/cutout", headers=headers)

    assert response.status_code == 200
    assert response.headers["access-control-allow-headers"] == names


async def test_an_allowed_page_may_access_a_private_network(client: httpx.AsyncClient) -> None:
    private = {"Access-Control-Request-Private-Network": "true"}
    response = await client.options("/v1/cutout", headers=preflight(SHOP) | private)
    of_other = await client.options("/v1/cutout", headers=preflight(OTHER) | private)

    assert (response.status_code, of_other.status_code) == (200, 400)
    assert response.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-origin" not in of_other.headers


async def test_another_origin_is_not_allowed(client: httpx.AsyncClient) -> None:
    preflighted = await client.options("/v1/cutout", headers=preflight(OTHER))
    sent = await client.post("/v1/cutout", headers={"Origin": OTHER})

    assert preflighted.status_code == 400
    assert "access-control-allow-origin" not in {*preflighted.headers, *sent.headers}


async def test_an_allowed_page_can_read_errors(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/cutout", headers={"Origin": SHOP})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == SHOP
    assert "retry-after" in response.headers["access-control-expose-headers"].lower()


async def test_no_origin_is_allowed_by_default() -> None:
    transport = ASGITransport(create_app(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        preflighted = await client.options("/v1/cutout", headers=preflight(SHOP))
        sent = await client.post("/v1/cutout", headers={"Origin": SHOP})

    assert preflighted.status_code == 405
    assert not [name for name in (*preflighted.headers, *sent.headers) if name.startswith("access-control")]


@pytest.mark.parametrize(
    "origins",
    [
        *("*", "shop.example", "https://*", "https://shop.example/", "", "https://", "https://a b", "NULL "),
        *(
            "https://shop.example, ",
            "https://shop.example/shop",
            "https://user@shop.example",
            "//shop.example",
        ),
        *("https://shop.example:99999", "https://shop.example:", "https://münchen.example", "localhost:3000"),
    ],
)
async def test_an_invalid_origin_fails_at_the_start(origins: str) -> None:
    wrong = origins.split(",")[-1].strip()
    with pytest.raises(ValidationError, match=re.escape(repr(wrong))):
        Settings(web={"cors_origins": origins})


@pytest.mark.parametrize(
    ("configured", "origin"),
    [
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("http://tauri.localhost", "http://tauri.localhost"),
        ("null", "null"),
        ("file://", "file://"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("HTTPS://Shop.Example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
async def test_a_configured_origin_matches_what_a_browser_sends(configured: str, origin: str) -> None:
    app = create_app(Settings(web={"cors_origins": f"https://other.example,{configured}"}))
    async with httpx.AsyncClient(transport=ASGITransport(app), base_url="http://here") as client:
        response = await client.get("/livez", headers={"Origin": origin})
        of_other = await client.get("/livez", headers={"Origin": "app://localhost"})

    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in of_other.headers


async def test_a_preflight_allows_head(client: httpx.AsyncClient) -> None:
    headers = preflight(SHOP) | {"Access-Control-Request-Method": "HEAD"}

    assert (await client.options("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/v1/mask", "/nothing", "/openapi.json"])
async def test_responses_have_headers_that_restrict_browsers(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert response.headers["cache-control"] == "no-store"


PLAIN = {
    *("content-type", "content-length", "date", "vary", "cache-control", "content-security-policy"),
    *("x-content-type-options", "cross-origin-resource-policy", "server"),
}
"""Headers that a page may always read, or does not need."""


@pytest.mark.parametrize(
    "path", ["/v1/cutout?report_box=true", "/v1.0/removebg", "/api/remove", "/v1.0/alpha-channel"]
)
def test_every_response_header_of_every_dialect_is_exposed(live: Live, path: str) -> None:
    name = "image_file" if path.startswith(("/v1/", "/v1.0/removebg")) else "file"
    sent = {"X-Request-Id": "a", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    response = live.client.post(path, files={name: ("a.jpg", jpeg(photo(60, 90)))}, headers=sent)

    assert response.status_code == 200, response.text
    assert {*response.headers} - PLAIN <= {name.lower() for name in EXPOSED}


HEAD = f"POST /read HTTP/1.1\r\nHost: here\r\nOrigin: {SHOP}\r\n".encode()
REFUSED = {
    400: HEAD + b"X: a\r\n b\r\n\r\n",
    408: HEAD + b"X-Slow: ",
    431: HEAD + b"Cookie: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
    505: HEAD.replace(b"HTTP/1.1", b"HTTP/3.0") + b"\r\n",
}


def header_lines(received: bytes) -> list[str]:
    return received.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")


@pytest.fixture
def server(start_server: Callable[..., StubServer]) -> StubServer:
    """A stub server with an allowed origin."""
    return start_server(head_s=0.3, cors=f"https://other.example, {SHOP}")


def test_an_allowed_page_can_read_refusals_of_a_connection(server: StubServer) -> None:
    for status, sent in REFUSED.items():
        lines = header_lines(server.exchange(sent))
        other = header_lines(server.exchange(sent.replace(SHOP.encode(), OTHER.encode())))

        assert lines[0].startswith(f"http/1.1 {status} ")
        assert {f"access-control-allow-origin: {SHOP}", "vary: origin"} < set(lines)
        assert other[0].startswith(f"http/1.1 {status} ")
        assert not [line for line in other if line.startswith("access-control")]
        assert "vary: origin" in other


def test_an_allowed_page_can_read_errors_of_a_body_and_of_a_later_request(server: StubServer) -> None:
    in_chunks = server.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\nnothing\r\n")
    second = server.exchange(b"GET /read HTTP/1.1\r\nHost: here\r\n\r\n" + REFUSED[400])

    assert f"access-control-allow-origin: {SHOP}" in header_lines(in_chunks)
    assert f"access-control-allow-origin: {SHOP}" in header_lines(second.partition(b"\r\n\r\n0")[2])


def test_an_origin_line_in_a_body_is_ignored(server: StubServer) -> None:
    sent = b"POST /read HTTP/9\r\nHost: here\r\n\r\n\r\nOrigin: " + SHOP.encode() + b"\r\n"

    assert not [line for line in header_lines(server.exchange(sent)) if line.startswith("access-control")]


@pytest.mark.parametrize("sent", [HEAD + b"\r\n", b""])
def test_an_allowed_page_can_read_the_refusal_of_too_many_connections(
    start_server: Callable[..., StubServer], sent: bytes
) -> None:
    server = start_server(head_s=20, maximum=1, cors=SHOP)
    first = server.connect()
    first.sendall(b"GET /read HTTP/1.1\r\nHost: here\r\n\r\n")
    assert first.recv(2**16).startswith(b"HTTP/1.1 200 ")
    lines = header_lines(server.exchange(sent))

    assert lines[0].startswith("http/1.1 429 ")
    assert (f"access-control-allow-origin: {SHOP}" in lines) == bool(sent)

"""HEAD is GET without the body: the same status, the same headers, the same length."""

import socket

import pytest

from tests.web.conftest import Live

GET_PATHS = [
    *("/", "/page/main.js"),
    *("/livez", "/readyz", "/startupz", "/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui.css"),
    *("/v1/models", "/v1.0/account", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/u2netp"),
    *(
        "/v2/models/u2netp/ready",
        "/problems/not-found",
        "/problems/nothing",
        "/nothing",
        "/v2/models/nothing",
    ),
]
CHANGING = {"date", "x-request-id", "server-timing"}


@pytest.mark.parametrize("path", GET_PATHS)
def test_head_has_the_status_and_headers_of_get_without_the_body(live: Live, path: str) -> None:
    named = {"X-Request-Id": "one"}
    got, head = live.client.get(path, headers=named), live.client.head(path, headers=named)
    same = {name: value for name, value in got.headers.items() if name not in CHANGING}

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert {name: value for name, value in head.headers.items() if name not in CHANGING} == same
    assert int(head.headers["content-length"]) == len(got.content) > 0


def test_a_connection_continues_after_a_head_request(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        client.sendall(b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.0\r\n\r\n")
        received = b""
        while chunk := client.recv(2**16):
            received += chunk
    first, _, second = received.partition(b"\r\n\r\n")

    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("HEAD", "/v1/mask", "POST"),
        ("GET", "/v1/mask", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PUT", "/api/remove", "GET, HEAD, POST"),
        ("PATCH", "/v1.0/account", "GET, HEAD"),
    ],
)
def test_a_405_allows_head_wherever_get_is_allowed(live: Live, method: str, path: str, allow: str) -> None:
    response = live.client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, allow)


def test_the_contract_has_head_wherever_it_has_get(live: Live) -> None:
    paths = live.client.get("/openapi.json").json()["paths"]
    got = {path for path, operations in paths.items() if "get" in operations}

    assert {"/livez", "/readyz", "/startupz", "/v1/models"} <= got
    assert got == {path for path, operations in paths.items() if "head" in operations}

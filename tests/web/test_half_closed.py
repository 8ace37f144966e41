"""Clients that half-close the connection after the request still get the response."""

import socket
import time
from collections.abc import Callable

import pytest

from tests.web.stub_server import BIG, GET, StubServer, read_response, read_until_closed, wait_until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
GET_1_0 = GET.replace(b"HTTP/1.1", b"HTTP/1.0")


def response_to(server: StubServer, sent: bytes) -> bytes:
    """Send, half-close the connection, and return everything until the server closes it."""
    client = server.connect()
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    return read_until_closed(client)


def post(path: bytes, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % (path, len(body)) + body


@pytest.mark.parametrize("sent", [GET, GET_1_0, post(b"/read", b"abcd"), post(b"/read", b"x" * 1_000_000)])
def test_a_fast_response_is_sent_without_delay(start_server: Callable[..., StubServer], sent: bytes) -> None:
    began_s = time.monotonic()
    response = response_to(start_server(head_s=20), sent)

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert time.monotonic() - began_s < 5  # not only after a timeout


@pytest.mark.parametrize("seconds", [0.1, 1.2])
def test_a_half_closed_client_gets_a_slow_response(
    start_server: Callable[..., StubServer], seconds: float
) -> None:
    server = start_server(head_s=20)
    response = response_to(server, post(f"/wait/{seconds}".encode(), b"abcd"))

    assert response.startswith(CONTINUE)
    assert response.replace(CONTINUE, b"").startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\n\r\n4")
    assert server.disconnects == 0


def test_a_half_closed_client_gets_a_large_response_completely(
    start_server: Callable[..., StubServer],
) -> None:
    client = start_server(head_s=20, write_s=20).connect()
    client.sendall(GET.replace(b"/read", b"/big"))
    client.shutdown(socket.SHUT_WR)
    sizes = [len(read_response(client))]
    while chunk := client.recv(2**20):
        sizes.append(len(chunk))

    assert BIG < sum(sizes) < BIG + 1000


def test_a_half_closed_client_gets_the_responses_of_all_its_requests(
    start_server: Callable[..., StubServer],
) -> None:
    server = start_server(head_s=20)
    response = response_to(server, post(b"/wait/0.05", b"a") * 3 + GET)

    assert response.replace(CONTINUE, b"").count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_disconnect_is_detected_while_the_request_is_processed(
    start_server: Callable[..., StubServer], version: bytes
) -> None:
    server = start_server(head_s=20)
    began_s = time.monotonic()
    with server.connect() as client:
        client.sendall(post(b"/wait/30", b"abcd").replace(b"HTTP/1.1", b"HTTP/" + version))
        wait_until(lambda: server.paths == ["/wait/30"])
    wait_until(lambda: server.disconnects == 1)

    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize("sent", [b"", b"GET /re", post(b"/read", b"abcd")[:-1], GET + b"GET /re"])
def test_an_incomplete_request_of_a_half_closed_client_is_dropped(
    start_server: Callable[..., StubServer], sent: bytes
) -> None:
    server = start_server(head_s=20)
    response = response_to(server, sent)

    assert response.count(b"HTTP/1.1 200 OK") == sent.count(GET)
    assert b"HTTP/1.1 4" not in response


def test_a_half_closed_client_gets_a_refusal(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20)
    response = response_to(server, b"GET / HTTP/1.1\r\nHost : here\r\n\r\n")

    assert response.startswith(b"HTTP/1.1 400 ")

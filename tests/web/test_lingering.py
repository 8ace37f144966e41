"""Early responses to clients that are still sending, and the limits while they linger."""

import http.client
import socket
import time
from collections.abc import Callable

import pytest

from app.web.lingering import LingerLimits
from tests.web.conftest import Live
from tests.web.stub_server import StubServer, drip_until_closed, read_response, read_until_closed, wait_until

CHUNK = bytes(100_000)
PATIENT = LingerLimits(time_s=20, pause_s=20)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refused_upload_is_read_to_its_end_so_that_the_response_arrives(
    live: Live, is_chunked: bool
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    body = iter([b"x" * 100_000] * 39) if is_chunked else b"x" * 3_900_000
    headers = {"Content-Encoding": "br"}
    connection.request("POST", "/v1/mask", body=body, headers=headers, encode_chunked=is_chunked)
    response = connection.getresponse()

    assert response.status == 415
    assert b"unsupported-format" in response.read()


def test_an_upload_declared_over_the_limit_is_refused_without_reading(live: Live) -> None:
    """The response is sent at once, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: here\r\nContent-Length: 4000001\r\n\r\n")
        response = b""
        while chunk := peer.recv(65536):
            response += chunk

    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"upload-too-large" in response


def test_an_upload_of_unknown_length_is_refused_at_the_limit(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.sendall(b"3d0900\r\n" + bytes(0x3D0900) + b"\r\n1\r\nx\r\n")
        response = b""
        while chunk := peer.recv(65536):
            response += chunk

    assert response.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_expects_100_continue_gets_the_refusal_instead(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.putrequest("POST", "/v1/mask")
    connection.putheader("Content-Length", "500000000")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    response = connection.getresponse()

    assert response.status == 413


def response_to_upload(
    client: socket.socket, head: bytes, body_bytes: int, *, chunked: bool = False
) -> bytes:
    """Send a complete request before reading the response; a reset in between fails the test."""
    client.sendall(head)
    for start in range(0, body_bytes, len(CHUNK)):
        chunk = CHUNK[: body_bytes - start]
        client.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
    client.sendall(b"0\r\n\r\n" if chunked else b"")
    return read_response(client)


MB_8 = 8_000_000
LENGTH = b"Host: here\r\nContent-Length: 8000000\r\n"
CHUNKED = b"Host: here\r\nTransfer-Encoding: chunked\r\n"
EARLY = {
    "too large": (b"POST /v1/mask HTTP/1.1\r\n" + LENGTH, 413),
    "too large, HTTP/1.0": (b"POST /v1/mask HTTP/1.0\r\n" + LENGTH, 413),
    "too large, HTTP/1.0, kept": (b"POST /v1/mask HTTP/1.0\r\nConnection: keep-alive\r\n" + LENGTH, 413),
    "too large, to be closed": (b"POST /v1/cutout HTTP/1.1\r\nConnection: close\r\n" + LENGTH, 413),
    "too large, in chunks": (b"POST /v1/cutout HTTP/1.1\r\n" + CHUNKED, 413),
    "too large, does not wait": (b"POST /v1/cutout HTTP/1.1\r\nExpect: 100-continue\r\n" + LENGTH, 413),
    "no such path": (b"POST /v1/nothing HTTP/1.1\r\n" + LENGTH, 404),
    "no such method": (b"DELETE /v1/mask HTTP/1.1\r\n" + LENGTH, 405),
    "a time that is none": (b"POST /v1/mask HTTP/1.1\r\nX-Request-Timeout-Ms: soon\r\n" + LENGTH, 400),
    "a coding": (b"POST /api/remove HTTP/1.1\r\nContent-Encoding: br\r\n" + LENGTH, 415),
    "a head in two ways": (b"POST /v1/mask HTTP/1.1\r\nX: a\r\n b\r\n" + LENGTH, 400),
    "a long head": (b"POST /v1/mask HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n" + LENGTH, 431),
    "another version": (b"POST /v1/mask HTTP/3.7\r\n" + LENGTH, 505),
}


@pytest.mark.parametrize(("head", "status"), EARLY.values(), ids=EARLY)
def test_a_client_that_sends_everything_before_reading_gets_the_early_response(
    live: Live, head: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
        response = response_to_upload(client, head + b"\r\n", MB_8, chunked=b"chunked" in head)

    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert response.lower().count(b"\r\nconnection: close\r\n") <= 1
    assert response.count(b"HTTP/1.1 ") == 1


def test_a_refusal_is_sent_before_a_large_body_has_arrived(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
        client.sendall(b"POST /v1/mask HTTP/1.1\r\n" + LENGTH + b"\r\n" + CHUNK)
        response = read_until_closed(client)  # until the server closes its half, while ours is open

        assert response.startswith(b"HTTP/1.1 413 ")
        client.sendall(CHUNK)


def test_a_413_closes_the_connection_even_if_the_body_arrived_completely(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.request("POST", "/v1/mask", body=bytes(MB_8))
    response = connection.getresponse()

    assert (response.status, response.will_close) == (413, True)
    assert b"upload-too-large" in response.read()


def test_a_refused_small_body_keeps_its_connection_open(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    for _ in range(2):
        connection.request("POST", "/v1/nothing", body=CHUNK)
        response = connection.getresponse()
        response.read()

        assert (response.status, response.will_close) == (404, False)


IGNORED = b"POST /ignore HTTP/1.1\r\nHost: here\r\nContent-Length: 100000000\r\n\r\n"


def test_dripping_does_not_extend_the_linger_time(start_server: Callable[..., StubServer]) -> None:
    server = start_server(linger=LingerLimits(time_s=0.6, pause_s=20))
    client = server.connect()
    client.sendall(IGNORED)
    assert b"200 OK" in read_response(client)
    drip_until_closed(client, b".")

    assert server.closed == {"slow-body": 1}
    assert server.lingering() == 0


def test_a_silent_lingering_client_is_closed(start_server: Callable[..., StubServer]) -> None:
    server = start_server(linger=LingerLimits(time_s=60, pause_s=0.3))
    client = server.connect()
    client.sendall(IGNORED + CHUNK)
    read_response(client)
    wait_until(lambda: server.lingering() == 0)

    assert server.closed == {"slow-body": 1}


def test_a_lingering_client_over_the_byte_limit_is_closed(start_server: Callable[..., StubServer]) -> None:
    server = start_server(linger=LingerLimits(client_bytes=2_000_000, time_s=20, pause_s=20))
    client = server.connect()
    client.sendall(IGNORED)
    drip_until_closed(client, CHUNK)

    assert server.closed == {"slow-body": 1}


def test_a_lingering_client_that_closes_first_is_not_counted(start_server: Callable[..., StubServer]) -> None:
    server = start_server(linger=PATIENT)
    with server.connect() as client:
        client.sendall(IGNORED + CHUNK)
        read_response(client)
        wait_until(lambda: server.lingering() == 1)
    wait_until(lambda: server.lingering() == 0)

    assert not server.closed


def test_the_oldest_lingering_client_is_closed_over_the_limit(
    start_server: Callable[..., StubServer],
) -> None:
    server = start_server(linger=LingerLimits(time_s=20, pause_s=20, clients=2))
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.sendall(IGNORED)
        read_response(client)
        wait_until(lambda: server.lingering() > 0)
    wait_until(lambda: server.closed == {"slow-body": 1})

    drip_until_closed(clients[0], b".")
    for client in clients[1:]:
        client.sendall(CHUNK)
    assert server.lingering() == 2


def test_the_total_drop_rate_is_limited(start_server: Callable[..., StubServer]) -> None:
    server = start_server(linger=LingerLimits(time_s=60, pause_s=20), bytes_per_s=4_000_000)
    clients = [server.connect() for _ in range(3)]
    began_s = time.monotonic()
    for client in clients:
        client.sendall(IGNORED)
        read_response(client)
        client.setblocking(False)
    sent = 0
    while time.monotonic() - began_s < 1.5:
        for client in clients:
            try:
                sent += client.send(CHUNK)
            except BlockingIOError:
                time.sleep(0.001)
    took_s = time.monotonic() - began_s
    buffered = 3 * 8 * 2**20  # the socket buffers of both ends

    assert server.lingering() == 3
    assert 2_000_000 < sent < took_s * 4_000_000 * 1.3 + buffered


def test_lingering_connections_are_closed_at_shutdown(start_server: Callable[..., StubServer]) -> None:
    server = start_server(linger=PATIENT)
    client = server.connect()
    client.sendall(IGNORED)
    read_response(client)
    began_s = time.monotonic()
    server.stop()

    assert time.monotonic() - began_s < 15
    assert server.lingering() == 0


def test_a_lingering_client_holds_no_upload_memory(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
        client.sendall(
            b"POST /v1/mask HTTP/1.1\r\n" + CHUNKED + b"\r\n3d0900\r\n" + bytes(4_000_000) + b"\r\n1\r\nx\r\n"
        )
        assert read_until_closed(client).startswith(b"HTTP/1.1 413 ")
        held = live.service.admission

        assert (held.requests, held.upload_bytes) == (0, 0)

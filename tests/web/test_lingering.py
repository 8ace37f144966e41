"""What a client reads that is answered before it has sent everything, and what it may occupy meanwhile."""

import http.client
import socket
import time
from collections.abc import Callable

import pytest

from app.web.lingering import LingerLimits
from tests.web.conftest import Live
from tests.web.entrance import Entrance, all_of, drip_until_closed, one_response, wait_until

PIECE = bytes(100_000)
PATIENT = LingerLimits(time_s=20, pause_s=20)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refused_upload_is_read_to_its_end_so_that_the_answer_arrives(live: Live, is_chunked: bool) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    body = iter([b"x" * 100_000] * 39) if is_chunked else b"x" * 3_900_000
    headers = {"Content-Encoding": "br"}
    connection.request("POST", "/v1/mask", body=body, headers=headers, encode_chunked=is_chunked)
    response = connection.getresponse()

    assert response.status == 415
    assert b"unsupported-format" in response.read()


def test_an_upload_over_the_cap_is_not_even_read(live: Live) -> None:
    """The answer comes at once, and the connection ends."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: here\r\nContent-Length: 4000001\r\n\r\n")
        response = b""
        while piece := peer.recv(65536):
            response += piece

    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"upload-too-large" in response


def test_an_upload_of_unknown_length_ends_at_the_cap(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.sendall(b"3d0900\r\n" + bytes(0x3D0900) + b"\r\n1\r\nx\r\n")
        response = b""
        while piece := peer.recv(65536):
            response += piece

    assert response.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_to_be_told_to_send_is_told_not_to(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.putrequest("POST", "/v1/mask")
    connection.putheader("Content-Length", "500000000")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    response = connection.getresponse()

    assert response.status == 413


def whole_upload(client: socket.socket, head: bytes, body_bytes: int, *, chunked: bool = False) -> bytes:
    """Send all of a request before looking for an answer; a reset meanwhile fails the test."""
    client.sendall(head)
    for start in range(0, body_bytes, len(PIECE)):
        piece = PIECE[: body_bytes - start]
        client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    client.sendall(b"0\r\n\r\n" if chunked else b"")
    return one_response(client)


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
def test_who_sends_all_before_reading_reads_why(live: Live, head: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
        response = whole_upload(client, head + b"\r\n", MB_8, chunked=b"chunked" in head)

    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert response.lower().count(b"\r\nconnection: close\r\n") <= 1
    assert response.count(b"HTTP/1.1 ") == 1


def test_a_refusal_goes_out_before_a_large_body_has_come(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
        client.sendall(b"POST /v1/mask HTTP/1.1\r\n" + LENGTH + b"\r\n" + PIECE)
        response = all_of(client)  # up to the server's half of the end, while ours is open

        assert response.startswith(b"HTTP/1.1 413 ")
        client.sendall(PIECE)


def test_a_body_that_was_too_large_ends_its_connection_even_if_it_came_whole(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.request("POST", "/v1/mask", body=bytes(MB_8))
    response = connection.getresponse()

    assert (response.status, response.will_close) == (413, True)
    assert b"upload-too-large" in response.read()


def test_a_small_body_that_is_refused_keeps_its_connection(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    for _ in range(2):
        connection.request("POST", "/v1/nothing", body=PIECE)
        response = connection.getresponse()
        response.read()

        assert (response.status, response.will_close) == (404, False)


IGNORED = b"POST /ignore HTTP/1.1\r\nHost: here\r\nContent-Length: 100000000\r\n\r\n"


def test_dripping_does_not_extend_the_time_to_linger(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=LingerLimits(time_s=0.6, pause_s=20))
    client = here.connect()
    client.sendall(IGNORED)
    assert b"200 OK" in one_response(client)
    drip_until_closed(client, b".")

    assert here.closed == {"slow-body": 1}
    assert here.lingering() == 0


def test_who_falls_silent_is_let_go(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=LingerLimits(time_s=60, pause_s=0.3))
    client = here.connect()
    client.sendall(IGNORED + PIECE)
    one_response(client)
    wait_until(lambda: here.lingering() == 0)

    assert here.closed == {"slow-body": 1}


def test_more_than_the_limit_is_not_taken(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=LingerLimits(client_bytes=2_000_000, time_s=20, pause_s=20))
    client = here.connect()
    client.sendall(IGNORED)
    drip_until_closed(client, PIECE)

    assert here.closed == {"slow-body": 1}


def test_who_ends_first_is_not_counted_as_cut(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=PATIENT)
    with here.connect() as client:
        client.sendall(IGNORED + PIECE)
        one_response(client)
        wait_until(lambda: here.lingering() == 1)
    wait_until(lambda: here.lingering() == 0)

    assert not here.closed


def test_the_one_that_has_lingered_longest_makes_room(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=LingerLimits(time_s=20, pause_s=20, clients=2))
    clients = [here.connect() for _ in range(3)]
    for client in clients:
        client.sendall(IGNORED)
        one_response(client)
        wait_until(lambda: here.lingering() > 0)
    wait_until(lambda: here.closed == {"slow-body": 1})

    drip_until_closed(clients[0], b".")
    for client in clients[1:]:
        client.sendall(PIECE)
    assert here.lingering() == 2


def test_all_together_are_taken_no_faster_than_the_limit(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=LingerLimits(time_s=60, pause_s=20), bytes_per_s=4_000_000)
    clients = [here.connect() for _ in range(3)]
    began_s = time.monotonic()
    for client in clients:
        client.sendall(IGNORED)
        one_response(client)
        client.setblocking(False)
    sent = 0
    while time.monotonic() - began_s < 1.5:
        for client in clients:
            try:
                sent += client.send(PIECE)
            except BlockingIOError:
                time.sleep(0.001)
    took_s = time.monotonic() - began_s
    buffered = 3 * 8 * 2**20  # what the sockets of both ends may hold

    assert here.lingering() == 3
    assert 2_000_000 < sent < took_s * 4_000_000 * 1.3 + buffered


def test_what_lingers_ends_with_the_server(enter: Callable[..., Entrance]) -> None:
    here = enter(linger=PATIENT)
    client = here.connect()
    client.sendall(IGNORED)
    one_response(client)
    began_s = time.monotonic()
    here.stop()

    assert time.monotonic() - began_s < 15
    assert here.lingering() == 0


def test_one_that_lingers_holds_no_picture(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
        client.sendall(
            b"POST /v1/mask HTTP/1.1\r\n" + CHUNKED + b"\r\n3d0900\r\n" + bytes(4_000_000) + b"\r\n1\r\nx\r\n"
        )
        assert all_of(client).startswith(b"HTTP/1.1 413 ")
        held = live.service.admission

        assert (held.requests, held.upload_bytes) == (0, 0)

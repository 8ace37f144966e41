"""What a socket may cost, on real sockets, before a small application that says what it saw."""

import gc
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.engine.clock import SystemClock
from app.web import connection
from app.web.connection import ConnectionLimits, owner_of
from app.web.strict_http import HEAD_BYTES
from tests.web.entrance import BIG, GET, Entrance, all_of, drip_until_closed, one_response, wait_until


def test_a_request_is_answered_and_its_connection_kept(enter: Callable[..., Entrance]) -> None:
    """Idling between requests is not the time of a head."""
    here = enter(head_s=0.3)
    client = here.connect()
    for body in (b"", b"x" * 70_000):
        head = f"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body)
        assert one_response(client).endswith(str(len(body)).encode())
        time.sleep(1.2)

    assert not here.closed


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_head_may_come_in_pieces(enter: Callable[..., Entrance], size: int) -> None:
    here = enter(head_s=20)
    client = here.connect()
    sent = b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\na\nb\r" + GET
    for start in range(0, len(sent), size):
        client.sendall(sent[start : start + size])
        time.sleep(0.001)
    received = one_response(client)
    received += b"" if received.count(b"200 OK") == 2 else one_response(client)

    assert received.count(b"200 OK") == 2
    assert here.asked == ["/read", "/read"]


@pytest.mark.parametrize("first", [b"", b"GET /read HT", b"GET /read HTTP/1.1\r\nHost: here\r\nX: "])
def test_a_head_that_does_not_come_is_not_waited_for(enter: Callable[..., Entrance], first: bytes) -> None:
    here = enter()
    response = here.last_response_to(first)

    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/headers-too-slow" in response
    assert here.closed == {"headers-too-slow": 1}
    assert not here.asked


def test_dripping_does_not_extend_the_time_of_a_head(enter: Callable[..., Entrance]) -> None:
    """After an answer too, where each byte stops the timer that uvicorn has for idling."""
    here = enter()
    client = here.connect()
    client.sendall(GET)
    one_response(client)
    drip_until_closed(client, b"G")

    assert here.closed == {"headers-too-slow": 1}


def test_an_answer_that_nobody_takes_is_not_kept(enter: Callable[..., Entrance]) -> None:
    here = enter()
    client = here.connect(receive_buffer=4096)
    client.sendall(GET.replace(b"/read", b"/big"))
    until_s = time.monotonic() + 20
    while not here.closed and time.monotonic() < until_s:
        time.sleep(0.05)

    assert here.closed == {"slow-reader": 1}
    assert len(all_of(client)) < BIG


def test_who_takes_piece_by_piece_gets_the_whole_answer(enter: Callable[..., Entrance]) -> None:
    """However long it takes altogether: each piece has its own time."""
    here = enter(write_s=2)
    client = here.connect()
    client.sendall(GET.replace(b"/read", b"/big"))
    received = 0
    while received < BIG:
        received += len(client.recv(2**20))
        time.sleep(0.02)

    assert received >= BIG
    assert not here.closed


AMBIGUOUS = {
    "line feeds alone": b"POST /read HTTP/1.1\nHost: here\nContent-Length: 0\n\n",
    "one line feed alone": b"POST /read HTTP/1.1\r\nHost: here\nContent-Length: 0\r\n\r\n",
    "a carriage return alone": b"POST /read HTTP/1.1\r\nHost: here\rX: y\r\nContent-Length: 0\r\n\r\n",
    "a folded line": b"POST /read HTTP/1.1\r\nHost: here\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": (
        b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "a length that is none": b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: +4\r\n\r\nabcd",
    "a coding nobody knows": b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_head_that_can_be_read_in_two_ways_is_refused(enter: Callable[..., Entrance], sent: bytes) -> None:
    here = enter(head_s=20)
    response = here.last_response_to(sent)

    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in response
    assert here.closed == {"malformed-request": 1}
    assert not here.asked


def test_a_second_head_is_looked_at_like_the_first(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    received = here.last_response_to(GET + AMBIGUOUS["length and chunks"])

    assert [received.count(b"200 OK"), received.count(b"HTTP/1.1 400 ")] == [1, 1]
    assert here.asked == ["/read"]


@pytest.mark.parametrize("size", [HEAD_BYTES + 1, 300_000, 20_000_000])
def test_a_long_head_is_refused_and_not_gathered(enter: Callable[..., Entrance], size: int) -> None:
    here = enter(head_s=20)
    client = here.connect()
    received = b""
    try:
        client.sendall(b"GET /read HTTP/1.1\r\nHost: here\r\nX: ")
        for _ in range(0, size, 100_000):
            client.sendall(b"x" * min(size, 100_000))
    except ConnectionError:
        pass
    received = all_of(client)

    assert here.closed == {"headers-too-large": 1}
    assert not received or received.startswith(b"HTTP/1.1 431 ")
    assert not here.asked


def test_chunks_that_are_none_end_the_request(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
    until_s = time.monotonic() + 20
    while not here.asked and time.monotonic() < until_s:
        time.sleep(0.01)
    client.sendall(b"xyz\r\n")
    response = all_of(client)

    assert response.startswith(b"HTTP/1.1 400 ")
    wait_until(lambda: here.disconnected == 1)


def test_an_address_has_its_share_of_connections(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20, maximum=2)
    first, second = here.connect(), here.connect()
    refused = all_of(here.connect())
    first.sendall(GET)
    one_response(first)
    second.close()
    until_s = time.monotonic() + 20
    response = b""
    while b"200 OK" not in response and time.monotonic() < until_s:  # until the place is free again
        with here.connect() as third:
            try:
                third.sendall(GET)
                response = third.recv(1000)
            except ConnectionError:
                response = b""

    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in refused.lower()
    assert b"200 OK" in response


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("2001:db8:1:3::9", "2001:db8:1:3::"),
        ("", ""),
    ],
)
def test_whom_an_address_belongs_to(address: str, owner: str) -> None:
    assert owner_of(address) == owner


def test_a_connection_that_has_ended_is_gone_without_the_garbage_collector() -> None:
    """Memory would grow between its visits, which the worker makes rare."""
    made: list[weakref.ref[connection.Connection]] = []
    door = ConnectionLimits(SystemClock(), 5, 5, None, lambda _: None)

    def connect(**of_uvicorn: Any) -> connection.Connection:
        protocol = door.connect(**of_uvicorn)
        made.append(weakref.ref(protocol))
        return protocol

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"connection", b"close"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    server = uvicorn.Server(uvicorn.Config(refuse, port=0, http=connect, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with socket.create_connection(server.servers[0].sockets[0].getsockname(), timeout=20) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nabc")
                assert client.recv(4096).startswith(b"HTTP/1.1 401 ")
        give_up_at_s = time.monotonic() + 20
        while any(each() is not None for each in made) and time.monotonic() < give_up_at_s:
            time.sleep(0.05)
        alive = sum(each() is not None for each in made)
    finally:
        gc.enable()
        server.should_exit = True
        thread.join(20)

    assert (alive, len(made)) == (0, 5)

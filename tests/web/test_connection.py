"""Deadlines, limits and head checks of connections, on real sockets, with a stub application."""

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
from app.web.connection import Connection
from app.web.connection_limits import ConnectionLimits, owner_of
from app.web.strict_http import HEAD_BYTES
from tests.web.stub_server import (
    BIG,
    GET,
    StubServer,
    drip_until_closed,
    read_response,
    read_until_closed,
    wait_until,
)


def test_a_connection_stays_open_after_a_response(start_server: Callable[..., StubServer]) -> None:
    """The time limit of a head does not apply while the connection is idle."""
    server = start_server(head_s=0.3)
    client = server.connect()
    for body in (b"", b"x" * 70_000):
        head = f"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body)
        assert read_response(client).endswith(str(len(body)).encode())
        time.sleep(1.2)

    assert not server.closed


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_head_may_arrive_in_chunks(start_server: Callable[..., StubServer], size: int) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    sent = b"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\na\nb\r" + GET
    for start in range(0, len(sent), size):
        client.sendall(sent[start : start + size])
        time.sleep(0.001)
    received = read_response(client)
    received += b"" if received.count(b"200 OK") == 2 else read_response(client)

    assert received.count(b"200 OK") == 2
    assert server.paths == ["/read", "/read"]


@pytest.mark.parametrize("first", [b"", b"GET /read HT", b"GET /read HTTP/1.1\r\nHost: here\r\nX: "])
def test_an_incomplete_head_times_out(start_server: Callable[..., StubServer], first: bytes) -> None:
    server = start_server()
    response = server.exchange(first)

    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/headers-too-slow" in response
    assert server.closed == {"headers-too-slow": 1}
    assert not server.paths


def test_dripping_does_not_extend_the_time_limit_of_a_head(start_server: Callable[..., StubServer]) -> None:
    """Also after a response, when each byte stops uvicorn's idle timer."""
    server = start_server()
    client = server.connect()
    client.sendall(GET)
    read_response(client)
    drip_until_closed(client, b"G")

    assert server.closed == {"headers-too-slow": 1}


def test_a_connection_whose_response_is_not_read_is_closed(start_server: Callable[..., StubServer]) -> None:
    server = start_server()
    client = server.connect(receive_buffer=4096)
    client.sendall(GET.replace(b"/read", b"/big"))
    until_s = time.monotonic() + 20
    while not server.closed and time.monotonic() < until_s:
        time.sleep(0.05)

    assert server.closed == {"slow-reader": 1}
    assert len(read_until_closed(client)) < BIG


def test_a_slow_but_steady_reader_gets_the_whole_response(start_server: Callable[..., StubServer]) -> None:
    """The total time is unlimited, because each chunk has its own deadline."""
    server = start_server(write_s=2)
    client = server.connect()
    client.sendall(GET.replace(b"/read", b"/big"))
    received = 0
    while received < BIG:
        received += len(client.recv(2**20))
        time.sleep(0.02)

    assert received >= BIG
    assert not server.closed


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
    "an unknown coding": b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_head_is_refused(start_server: Callable[..., StubServer], sent: bytes) -> None:
    server = start_server(head_s=20)
    response = server.exchange(sent)

    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in response
    assert server.closed == {"malformed-request": 1}
    assert not server.paths


def test_a_second_head_is_checked_like_the_first(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20)
    received = server.exchange(GET + AMBIGUOUS["length and chunks"])

    assert [received.count(b"200 OK"), received.count(b"HTTP/1.1 400 ")] == [1, 1]
    assert server.paths == ["/read"]


@pytest.mark.parametrize("size", [HEAD_BYTES + 1, 300_000, 20_000_000])
def test_a_long_head_is_refused_and_not_buffered(start_server: Callable[..., StubServer], size: int) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    received = b""
    try:
        client.sendall(b"GET /read HTTP/1.1\r\nHost: here\r\nX: ")
        for _ in range(0, size, 100_000):
            client.sendall(b"x" * min(size, 100_000))
    except ConnectionError:
        pass
    received = read_until_closed(client)

    assert server.closed == {"headers-too-large": 1}
    assert not received or received.startswith(b"HTTP/1.1 431 ")
    assert not server.paths


def test_an_invalid_chunk_ends_the_request(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    client.sendall(b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
    until_s = time.monotonic() + 20
    while not server.paths and time.monotonic() < until_s:
        time.sleep(0.01)
    client.sendall(b"xyz\r\n")
    response = read_until_closed(client)

    assert response.startswith(b"HTTP/1.1 400 ")
    wait_until(lambda: server.disconnects == 1)


def test_the_connections_of_an_address_are_limited(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20, maximum=2)
    first, second = server.connect(), server.connect()
    refused = read_until_closed(server.connect())
    first.sendall(GET)
    read_response(first)
    second.close()
    until_s = time.monotonic() + 20
    response = b""
    while (
        b"200 OK" not in response and time.monotonic() < until_s
    ):  # until the closed connection is no longer counted
        with server.connect() as third:
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
def test_an_address_is_counted_by_its_owner(address: str, owner: str) -> None:
    assert owner_of(address) == owner


@pytest.mark.process
def test_a_closed_connection_is_freed_without_the_garbage_collector() -> None:
    """Otherwise memory would grow between collections, which the server makes rare."""
    made: list[weakref.ref[Connection]] = []
    connection_limits = ConnectionLimits(SystemClock(), 5, 5, None, lambda _: None)

    def connect(**uvicorn_arguments: Any) -> Connection:
        protocol = Connection(connection_limits, **uvicorn_arguments)
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

"""What a socket may cost, on real sockets, before a small application that says what it saw."""

import gc
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.cli.worker import DrainingServer
from app.engine.clock import SystemClock
from app.web import connection
from app.web.connection import Door, owner_of
from app.web.drain import Drain
from app.web.strict_http import HEAD_BYTES

BIG = 64 * 2**20
GET = b"GET /read HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class Entrance:
    """A server on a free port, what its application was asked, and why it closed connections."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    departed: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    sockets: ExitStack = field(default_factory=ExitStack)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Open a connection that ends with the test."""
        client = self.sockets.enter_context(socket.socket())
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(("127.0.0.1", self.port))
        return client

    def last_answer_to(self, sent: bytes) -> bytes:
        """Send once, and return all that comes until the server closes."""
        client = self.connect()
        client.sendall(sent)
        return all_of(client)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, unless told to ignore it; answer with its length, or with a large answer."""
        assert scope["type"] == "http"
        path = scope["path"]
        self.asked.append(path)
        length, more = 0, path != "/ignore"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.departed += 1
                return
            length += len(message["body"])
            more = message["more_body"]
        body = bytes(BIG) if path == "/big" else str(length).encode()
        declared = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": declared})
        for start in range(0, len(body), 2**18):
            rest = start + 2**18 < len(body)
            await send({"type": "http.response.body", "body": body[start : start + 2**18], "more_body": rest})


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Entrance]]:
    """Start entrances with rules of one's own; every deadline is a fraction of a second."""
    monkeypatch.setattr(connection, "REST_S", 0.3)
    running: list[tuple[DrainingServer, threading.Thread, Entrance]] = []

    def start(
        *, head_s: float = 0.3, write_s: float = 0.3, most: int | None = None, cors: str | None = None
    ) -> Entrance:
        here = Entrance()
        clock = SystemClock()

        def note(reason: str) -> None:
            here.closed[reason] += 1

        door = Door(clock, head_s, write_s, most, note, cors)
        config = uvicorn.Config(
            here.app,
            port=0,
            http=door.connect,  # type: ignore[arg-type]
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
        )
        server = DrainingServer(config, Drain(clock, delay_s=0, timeout_s=0), door)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread, here))
        until_s = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        here.port = server.servers[0].sockets[0].getsockname()[1]
        return here

    yield start
    for server, thread, here in running:
        here.sockets.close()
        server.should_exit = True
        thread.join(20)


def all_of(client: socket.socket) -> bytes:
    """Read until the other end closes; a reset ends it too."""
    received = b""
    try:
        while piece := client.recv(2**16):
            received += piece
    except ConnectionError:
        pass
    return received


def one_answer(client: socket.socket) -> bytes:
    """Read one short answer and leave the connection open."""
    received = b""
    while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
        piece = client.recv(2**16)
        assert piece, received
        received += piece
    return received


def drip_until_closed(client: socket.socket, dripped: bytes) -> None:
    """Send a little again and again, until the other end has closed."""
    until_s = time.monotonic() + 20
    try:
        while time.monotonic() < until_s:
            client.sendall(dripped)
            time.sleep(0.01)
    except ConnectionError:
        return
    raise AssertionError("the connection is still open")


def test_a_request_is_answered_and_its_connection_kept(enter: Callable[..., Entrance]) -> None:
    """Idling between requests is not the time of a head."""
    here = enter(head_s=0.3)
    client = here.connect()
    for body in (b"", b"x" * 70_000):
        head = f"POST /read HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body)
        assert one_answer(client).endswith(str(len(body)).encode())
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
    received = one_answer(client)
    received += b"" if received.count(b"200 OK") == 2 else one_answer(client)

    assert received.count(b"200 OK") == 2
    assert here.asked == ["/read", "/read"]


@pytest.mark.parametrize("first", [b"", b"GET /read HT", b"GET /read HTTP/1.1\r\nHost: here\r\nX: "])
def test_a_head_that_does_not_come_is_not_waited_for(enter: Callable[..., Entrance], first: bytes) -> None:
    here = enter()
    answer = here.last_answer_to(first)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/headers-too-slow" in answer
    assert here.closed == {"headers-too-slow": 1}
    assert not here.asked


def test_dripping_does_not_extend_the_time_of_a_head(enter: Callable[..., Entrance]) -> None:
    """After an answer too, where each byte stops the timer that uvicorn has for idling."""
    here = enter()
    client = here.connect()
    client.sendall(GET)
    one_answer(client)
    drip_until_closed(client, b"G")

    assert here.closed == {"headers-too-slow": 1}


def test_a_body_that_nobody_reads_must_end_soon_after_the_answer(enter: Callable[..., Entrance]) -> None:
    here = enter()
    client = here.connect()
    client.sendall(b"POST /ignore HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n")
    assert b"200 OK" in one_answer(client)
    drip_until_closed(client, b".")

    assert here.closed == {"slow-body": 1}


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
    answer = here.last_answer_to(sent)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert here.closed == {"malformed-request": 1}
    assert not here.asked


def test_a_second_head_is_looked_at_like_the_first(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    received = here.last_answer_to(GET + AMBIGUOUS["length and chunks"])

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
    answer = all_of(client)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert here.departed == 1


def test_an_address_has_its_share_of_connections(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20, most=2)
    first, second = here.connect(), here.connect()
    refused = all_of(here.connect())
    first.sendall(GET)
    one_answer(first)
    second.close()
    until_s = time.monotonic() + 20
    answer = b""
    while b"200 OK" not in answer and time.monotonic() < until_s:  # until the place is free again
        with here.connect() as third:
            try:
                third.sendall(GET)
                answer = third.recv(1000)
            except ConnectionError:
                answer = b""

    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in refused.lower()
    assert b"200 OK" in answer


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
    door = Door(SystemClock(), 5, 5, None, lambda _: None)

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

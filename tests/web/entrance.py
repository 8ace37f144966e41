"""A server on a real socket before a small application that says what it saw."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import uvicorn
from starlette.types import Receive, Scope, Send

from app.cli.worker import DrainingServer
from app.engine.clock import SystemClock
from app.web.connection import ConnectionLimits
from app.web.drain import Drain
from app.web.lingering import DropRate, LingerLimits

BIG = 64 * 2**20
GET = b"GET /read HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class Entrance:
    """A server on a free port, what its application was asked, and why it closed connections."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    disconnected: int = 0
    lingering: Callable[[], int] = lambda: 0
    stop: Callable[[], None] = lambda: None
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

    def last_response_to(self, sent: bytes) -> bytes:
        """Send once, and return all that comes until the server closes."""
        client = self.connect()
        client.sendall(sent)
        return all_of(client)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, unless told to ignore it; answer with its length, perhaps later, or largely."""
        assert scope["type"] == "http"
        path = scope["path"]
        self.asked.append(path)
        length, more = 0, path != "/ignore"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return
            length += len(message["body"])
            more = message["more_body"]
        if path.startswith("/wait/"):
            with suppress(TimeoutError):
                async with asyncio.timeout(float(path.removeprefix("/wait/"))):
                    await receive()  # nothing but that the client has left
                    self.disconnected += 1
                    return
        body = bytes(BIG) if path == "/big" else str(length).encode()
        declared = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": declared})
        for start in range(0, len(body), 2**18):
            rest = start + 2**18 < len(body)
            await send({"type": "http.response.body", "body": body[start : start + 2**18], "more_body": rest})


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for what happens in the server's thread."""
    until_s = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def all_of(client: socket.socket) -> bytes:
    """Read until the other end closes; a reset ends it too."""
    received = b""
    try:
        while piece := client.recv(2**16):
            received += piece
    except ConnectionError:
        pass
    return received


def one_response(client: socket.socket) -> bytes:
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


@contextmanager
def entrances() -> Iterator[Callable[..., Entrance]]:
    """Start entrances with rules of one's own; every deadline is a fraction of a second."""
    running: list[Entrance] = []

    def start(
        *,
        head_s: float = 0.3,
        write_s: float = 0.3,
        maximum: int | None = None,
        linger: LingerLimits = LingerLimits(time_s=0.6, pause_s=0.3),  # noqa: B008 - it does not change
        bytes_per_s: float = 1e9,
        cors: str | None = None,
    ) -> Entrance:
        here = Entrance()
        clock = SystemClock()

        def note(reason: str) -> None:
            here.closed[reason] += 1

        door = ConnectionLimits(
            clock, head_s, write_s, maximum, note, linger, DropRate(clock, bytes_per_s), cors_origins=cors
        )
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
        here.lingering = lambda: len(door.lingering)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        here.stop = partial(_stop, server, thread)
        running.append(here)
        until_s = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        here.port = server.servers[0].sockets[0].getsockname()[1]
        return here

    yield start
    for here in running:
        here.sockets.close()
        here.stop()


def _stop(server: DrainingServer, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(20)

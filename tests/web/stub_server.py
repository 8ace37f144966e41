"""A real server, with our connection protocol, in front of a stub application that records its requests."""

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
from app.web.connection import Connection
from app.web.connection_limits import ConnectionLimits
from app.web.drain import Drain
from app.web.lingering import DropRate, LingerLimits

BIG = 64 * 2**20
GET = b"GET /read HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class StubServer:
    """A server on a free port, the paths of its requests, and the reasons of connections that it closed."""

    port: int = 0
    paths: list[str] = field(default_factory=list)
    disconnects: int = 0
    lingering: Callable[[], int] = lambda: 0
    stop: Callable[[], None] = lambda: None
    closed: Counter[str] = field(default_factory=Counter)
    sockets: ExitStack = field(default_factory=ExitStack)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Open a connection that is closed at the end of the test."""
        client = self.sockets.enter_context(socket.socket())
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(("127.0.0.1", self.port))
        return client

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes on a new connection, and return everything until the server closes it."""
        client = self.connect()
        client.sendall(sent)
        return read_until_closed(client)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with the length of the body, after a delay, with a large body, or without reading."""
        assert scope["type"] == "http"
        path = scope["path"]
        self.paths.append(path)
        length, more = 0, path != "/ignore"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            length += len(message["body"])
            more = message["more_body"]
        if path.startswith("/wait/"):
            with suppress(TimeoutError):
                async with asyncio.timeout(float(path.removeprefix("/wait/"))):
                    await receive()  # after the body, only a disconnect
                    self.disconnects += 1
                    return
        body = bytes(BIG) if path == "/big" else str(length).encode()
        declared = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": declared})
        for start in range(0, len(body), 2**18):
            more = start + 2**18 < len(body)
            await send({"type": "http.response.body", "body": body[start : start + 2**18], "more_body": more})


def wait_until(has_happened: Callable[[], bool]) -> None:
    """Wait for an event in the thread of the server."""
    until_s = time.monotonic() + 20
    while not has_happened():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def read_until_closed(client: socket.socket) -> bytes:
    """Read until the server closes or resets the connection."""
    received = b""
    try:
        while chunk := client.recv(2**16):
            received += chunk
    except ConnectionError:
        pass
    return received


def read_response(client: socket.socket) -> bytes:
    """Read one short response, and keep the connection open."""
    received = b""
    while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
        chunk = client.recv(2**16)
        assert chunk, received
        received += chunk
    return received


def drip_until_closed(client: socket.socket, dripped: bytes) -> None:
    """Send a few bytes repeatedly, until the server has closed the connection."""
    until_s = time.monotonic() + 20
    try:
        while time.monotonic() < until_s:
            client.sendall(dripped)
            time.sleep(0.01)
    except ConnectionError:
        return
    raise AssertionError("the connection is still open")


@contextmanager
def stub_servers() -> Iterator[Callable[..., StubServer]]:
    """Start stub servers with custom limits; all deadlines are fractions of a second."""
    running: list[StubServer] = []

    def start(
        *,
        head_s: float = 0.3,
        write_s: float = 0.3,
        maximum: int | None = None,
        linger: LingerLimits = LingerLimits(time_s=0.6, pause_s=0.3),  # noqa: B008 - immutable
        bytes_per_s: float = 1e9,
        cors: str | None = None,
    ) -> StubServer:
        stub = StubServer()
        clock = SystemClock()

        def count(reason: str) -> None:
            stub.closed[reason] += 1

        connection_limits = ConnectionLimits(
            clock, head_s, write_s, maximum, count, linger, DropRate(clock, bytes_per_s), cors_origins=cors
        )
        config = uvicorn.Config(
            stub.app,
            port=0,
            http=partial(Connection, connection_limits),  # type: ignore[arg-type]
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
        )
        server = DrainingServer(config, Drain(clock, delay_s=0, timeout_s=0), connection_limits)
        stub.lingering = lambda: len(connection_limits.lingering)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        stub.stop = partial(_stop, server, thread)
        running.append(stub)
        until_s = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        stub.port = server.servers[0].sockets[0].getsockname()[1]
        return stub

    yield start
    for stub in running:
        stub.sockets.close()
        stub.stop()


def _stop(server: DrainingServer, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(20)

"""Client: a small HTTP client over asyncio streams, for benchmarks that share the cores with the server.

It reads responses that arrive before the upload has ended, and keeps a connection alive unless the response
closes it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

MAX_IDLE_S = 2.0
"""A connection that was idle for longer is not reused: the server may be about to close it."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to send."""

    path: str
    upload: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "image/jpeg"),)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Reply:
    """One response; ``came_early`` is true if it was complete before the whole upload was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    came_early: bool


class Connection:
    """One connection, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.used_s = asyncio.get_running_loop().time()

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port, limit=2**20))

    def send(self, shot: Shot, *, share: float = 1.0) -> None:
        """Write a request with a share of its body to the transport, without waiting until it is sent."""
        lines = (f"{name}: {text}\r\n" for name, text in shot.headers)
        head = (
            f"{shot.method} {shot.path} HTTP/1.1\r\nHost: benchmark\r\nContent-Length: {len(shot.upload)}\r\n"
            f"{''.join(lines)}\r\n"
        )
        self._writer.write(head.encode("ascii"))
        self._writer.write(shot.upload[: int(share * len(shot.upload))])

    async def receive(self) -> Reply:
        """Read one response, even if the request has not been sent completely.

        Raises:
            ConnectionError: The server closed or reset the connection before the response was complete.
        """
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines[1:] if line)
            headers = {name.lower(): text.strip() for name, _, text in pairs}
            if lines[0].startswith("HTTP/1.0") and headers.get("connection", "").lower() != "keep-alive":
                headers["connection"] = "close"
            body = await self._read_body(headers)
        except asyncio.IncompleteReadError as error:
            where = "within the response" if error.partial else "before the response"
            raise ConnectionError(f"closed {where}") from error
        came_early = self._writer.transport.get_write_buffer_size() > 0
        return Reply(int(lines[0].split()[1]), headers, body, came_early)

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        """Read a body with a length, in chunks, or up to the connection's end (RFC 9112, section 6.3)."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = bytearray()
            while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
            return bytes(body)
        if "content-length" not in headers and headers.get("connection", "").lower() == "close":
            return await self._reader.read()
        return await self._reader.readexactly(int(headers.get("content-length", "0")))

    async def is_reusable(self, reply: Reply) -> bool:
        """Send the rest of the upload; return whether the connection can be used for another request."""
        if reply.headers.get("connection", "").lower() == "close":
            return False
        self._writer.transport.set_write_buffer_limits(0)
        try:
            await self._writer.drain()
        except ConnectionError:
            return False
        self.used_s = asyncio.get_running_loop().time()
        return True

    def is_fresh(self) -> bool:
        """Return whether the server has most likely kept the connection open."""
        age_s = asyncio.get_running_loop().time() - self.used_s
        return not self._reader.at_eof() and age_s < MAX_IDLE_S

    def abort(self) -> None:
        """Reset the connection, like a client that disappears."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Close the connection, like a client that has finished."""
        self._writer.close()


class Client:
    """A pool of connections to one server, with one connection per concurrent request."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 120.0) -> None:
        self._address = host, port
        self.timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._draining: set[asyncio.Task[None]] = set()

    async def post(self, shot: Shot) -> Reply:
        """Send one request and read its response.

        Raises:
            OSError: The connection failed before the response was complete, or the request timed out.
        """
        async with asyncio.timeout(self.timeout_s):
            connection = await self.acquire()
            try:
                connection.send(shot)
                reply = await connection.receive()
            except BaseException:
                connection.abort()
                raise
        draining = asyncio.create_task(self._keep(connection, reply))
        self._draining.add(draining)
        draining.add_done_callback(self._draining.discard)
        return reply

    async def acquire(self) -> Connection:
        """Return an idle connection or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()
        return await Connection.open(*self._address)

    async def _keep(self, connection: Connection, reply: Reply) -> None:
        if await connection.is_reusable(reply):
            self._idle.append(connection)
            return
        connection.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._draining:
            await asyncio.wait(self._draining, timeout=5)
        for connection in self._idle:
            connection.close()
        self._idle.clear()

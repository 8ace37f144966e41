"""Client: a small HTTP client over asyncio streams, for benchmarks that share the cores with the server.

It reads answers that come before an upload has ended, and keeps a connection alive unless told to close it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

IDLE_AT_MOST_S = 2.0
"""A kept connection older than this is not used again: the server may be about to close it."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to send."""

    path: str
    upload: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "image/jpeg"),)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came; ``came_early`` tells that the upload had not left when it was complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    came_early: bool


class Connection:
    """One connection; at most one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.used_s = asyncio.get_running_loop().time()

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port, limit=2**20))

    def send(self, shot: Shot, *, part: float = 1.0) -> None:
        """Hand a request to the transport, its body in part, without waiting until it has left."""
        lines = (f"{name}: {text}\r\n" for name, text in shot.headers)
        head = (
            f"POST {shot.path} HTTP/1.1\r\nHost: benchmark\r\nContent-Length: {len(shot.upload)}\r\n"
            f"{''.join(lines)}\r\n"
        )
        self._writer.write(head.encode("ascii"))
        self._writer.write(shot.upload[: int(part * len(shot.upload))])

    async def receive(self) -> Reply:
        """Read one answer, whether or not the request has left entirely.

        Raises:
            ConnectionError: The server closed or reset the connection before the answer was complete.
        """
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines[1:] if line)
            headers = {name.lower(): text.strip() for name, _, text in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except asyncio.IncompleteReadError as error:
            where = "within the answer" if error.partial else "before the answer"
            raise ConnectionError(f"closed {where}") from error
        came_early = self._writer.transport.get_write_buffer_size() > 0
        return Reply(int(lines[0].split()[1]), headers, body, came_early)

    async def is_reusable(self, reply: Reply) -> bool:
        """Let what is left of the upload leave; tell whether another request may follow."""
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
        """Tell whether the server can be trusted to have kept the connection."""
        age_s = asyncio.get_running_loop().time() - self.used_s
        return not self._reader.at_eof() and age_s < IDLE_AT_MOST_S

    def leave(self) -> None:
        """Close at once and rudely, as a client does that vanishes."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Close as a client does that is done."""
        self._writer.close()


class Client:
    """Kept connections to one server; opens as many as there are requests under way."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 120.0) -> None:
        self._address = host, port
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._settling: set[asyncio.Task[None]] = set()

    async def post(self, shot: Shot) -> Reply:
        """Send one request and read its answer.

        Raises:
            OSError: The connection failed before the answer was complete, or nothing came in time.
        """
        async with asyncio.timeout(self._timeout_s):
            connection = await self.take()
            try:
                connection.send(shot)
                reply = await connection.receive()
            except BaseException:
                connection.leave()
                raise
        settling = asyncio.create_task(self._keep(connection, reply))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        return reply

    async def take(self) -> Connection:
        """Return a kept connection or a new one."""
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
        """Close every kept connection."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=5)
        for connection in self._idle:
            connection.close()
        self._idle.clear()

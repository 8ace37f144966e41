"""Load: requests sent at a pace of their own (open loop), or as fast as answers come (closed loop).

    python -m benchmarks.load [--rate 5] [--clients 4] [--seconds 10] [--megapixels 1] [--path /v1/mask]

Starts a server, measures its capacity with ``--clients`` requests always open, then sends at random
instants (Poisson) ``--rate`` times a second, whether or not the server keeps up. There a latency counts
from the instant at which the request was meant to leave, so a server that stalls cannot hide the wait
(coordinated omission). Prints latencies by status. The other benchmarks build on this module.

The client is a small one over asyncio streams, since it shares the cores with the server. It reads
answers that come before an upload has ended, and keeps a connection alive unless told to close it.
"""

import argparse
import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks.pictures import jpeg_photo
from benchmarks.report import milliseconds, print_table
from benchmarks.server import Server, add_server_arguments

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


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request.

    ``intended_s`` counts from the start of the loop, ``latency_s`` from that instant to the last byte
    of the answer. ``status`` is 0 where the connection failed, and ``error`` says how.
    """

    intended_s: float
    latency_s: float
    status: int
    retry_after: str | None = None
    error: str | None = None
    came_early: bool = False
    sent_late_s: float = 0.0
    server_timing: str = ""

    @property
    def ended_s(self) -> float:
        """When the answer was complete, from the start of the loop."""
        return self.intended_s + self.latency_s


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

    def send(self, shot: Shot) -> None:
        """Hand a whole request to the transport, without waiting until it has left."""
        lines = (f"{name}: {text}\r\n" for name, text in shot.headers)
        head = (
            f"POST {shot.path} HTTP/1.1\r\nHost: benchmark\r\nContent-Length: {len(shot.upload)}\r\n"
            f"{''.join(lines)}\r\n"
        )
        self._writer.write(head.encode("ascii"))
        self._writer.write(shot.upload)

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


async def open_loop(
    client: Client, choose: Callable[[int], Shot], *, rate: float, seconds: float, seed: int = 0
) -> list[Result]:
    """Send ``rate`` requests a second at random instants for ``seconds``; wait for every answer."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    intended_s = chance.expovariate(rate)
    under_way: list[asyncio.Task[Result]] = []
    while intended_s < seconds:
        await asyncio.sleep(started_s + intended_s - loop.time())
        under_way.append(
            asyncio.create_task(fire(client, choose(len(under_way)), started_s, intended_s=intended_s))
        )
        intended_s += chance.expovariate(rate)
    return list(await asyncio.gather(*under_way))


async def closed_loop(
    client: Client, choose: Callable[[int], Shot], *, clients: int, seconds: float
) -> list[Result]:
    """Keep ``clients`` requests under way for ``seconds``."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    results: list[Result] = []
    count = 0

    async def one_client() -> None:
        nonlocal count
        while (now_s := loop.time() - started_s) < seconds:
            count += 1
            result = await fire(client, choose(count), started_s, intended_s=now_s)
            results.append(result)
            if result.status != 200:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one_client() for _ in range(clients)))
    return results


async def fire(client: Client, shot: Shot, started_s: float, *, intended_s: float) -> Result:
    """Send one request now; ``intended_s`` is when it should have left, counted from ``started_s``."""
    loop = asyncio.get_running_loop()
    sent_late_s = loop.time() - started_s - intended_s
    try:
        reply = await client.post(shot)
    except (OSError, TimeoutError) as error:
        latency_s = loop.time() - started_s - intended_s
        return Result(intended_s, latency_s, 0, error=f"{type(error).__name__}: {error}")
    latency_s = loop.time() - started_s - intended_s
    return Result(
        intended_s,
        latency_s,
        reply.status,
        reply.headers.get("retry-after"),
        came_early=reply.came_early,
        sent_late_s=sent_late_s,
        server_timing=reply.headers.get("server-timing", ""),
    )


def rate_of(results: Iterable[Result], *, begin_s: float, end_s: float) -> float:
    """Return pictures answered per second between two instants of the loop."""
    return sum(r.status == 200 and begin_s <= r.ended_s < end_s for r in results) / (end_s - begin_s)


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all do not exceed; not a number without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def by_status(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return a row of counts and latencies for each status and each way a connection failed."""
    kinds = Counter(r.error or str(r.status) for r in results)
    rows: list[tuple[str, ...]] = []
    for kind, count in sorted(kinds.items()):
        latencies = [r.latency_s for r in results if (r.error or str(r.status)) == kind]
        shown = (milliseconds(percentile(latencies, percent)) for percent in (50, 99, 100))
        rows.append((kind, str(count), *shown))
    return rows


def main() -> None:
    """Print capacity and latencies."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second in the open loop")
    parser.add_argument("--clients", type=int, default=4, help="requests always open in the closed loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--path", default="/v1/mask")
    asked = parser.parse_args()
    shot = Shot(asked.path, jpeg_photo(asked.megapixels))

    async def measure(server: Server) -> None:
        client = Client(server.host, server.port)
        at_once = await closed_loop(client, lambda _: shot, clients=asked.clients, seconds=asked.seconds)
        capacity = rate_of(at_once, begin_s=0, end_s=asked.seconds)
        print(f"\nCapacity with {asked.clients} clients: {capacity:.2f} pictures/s\n")
        header = ("closed loop, by status", "count", "p50", "p99", "max")
        print_table(header, by_status(at_once))
        paced = await open_loop(client, lambda _: shot, rate=asked.rate, seconds=asked.seconds)
        print_table((f"open loop, {asked.rate:g} a second, by status", *header[1:]), by_status(paced))
        await client.close()

    with Server(asked.model, asked.models_dir) as server:
        asyncio.run(measure(server))


if __name__ == "__main__":
    main()

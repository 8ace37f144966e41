"""Load: sends requests at a given rate (open loop), or as fast as responses arrive (closed loop).

    python -m benchmarks.load [--rate 5] [--clients 4] [--seconds 10] [--megapixels 1] [--path /v1/mask]

Starts a server, measures its capacity with ``--clients`` requests always open, then sends ``--rate`` requests
per second at random instants (Poisson), whether or not the server keeps up. In the open loop, latency counts
from the intended instant of sending, so a stalling server cannot hide the wait (coordinated omission). Prints
latencies by status. The other benchmarks build on this module.
"""

import argparse
import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.client import Client, Shot
from benchmarks.pictures import jpeg_photo
from benchmarks.report import milliseconds, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

TIMER_DELAY_S = 0.0015
"""An upper bound of the delay of an event loop's timers."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one request.

    ``intended_s`` counts from the start of the loop, ``latency_s`` from that instant to the last byte of the
    response. If the connection failed, ``status`` is 0 and ``error`` has the reason.
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
        """The end of the response, from the start of the loop."""
        return self.intended_s + self.latency_s


async def open_loop(
    client: Client,
    choose: Callable[[int], Shot],
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
    has_own_core: bool = False,
) -> list[Result]:
    """Send ``rate`` requests per second at random instants for ``seconds``, and wait for all responses.

    With ``has_own_core`` the client busy-waits before each instant, because the timers of an event loop are
    up to a millisecond late.
    """
    rng = random.Random(seed)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    intended_s = rng.expovariate(rate)
    in_flight: list[asyncio.Task[Result]] = []
    while intended_s < seconds:
        delay_s = started_s + intended_s - loop.time()
        await asyncio.sleep(delay_s - TIMER_DELAY_S if has_own_core else delay_s)
        while has_own_core and loop.time() < started_s + intended_s:  # noqa: ASYNC110 - a point in time is not an event
            await asyncio.sleep(0)
        in_flight.append(
            asyncio.create_task(fire(client, choose(len(in_flight)), started_s, intended_s=intended_s))
        )
        intended_s += rng.expovariate(rate)
    return list(await asyncio.gather(*in_flight))


async def closed_loop(
    client: Client, choose: Callable[[int], Shot], *, clients: int, seconds: float
) -> list[Result]:
    """Keep ``clients`` requests in flight for ``seconds``."""
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
    """Send one request now; ``intended_s`` is its intended instant, counted from ``started_s``."""
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
    """Return successful responses per second between two instants of the loop."""
    return sum(r.status == 200 and begin_s <= r.ended_s < end_s for r in results) / (end_s - begin_s)


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all values do not exceed; NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def by_status(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return a row of counts and latencies for each status and each connection error."""
    kinds = Counter(r.error or str(r.status) for r in results)
    rows: list[tuple[str, ...]] = []
    for kind, count in sorted(kinds.items()):
        latencies = [r.latency_s for r in results if (r.error or str(r.status)) == kind]
        columns = (milliseconds(percentile(latencies, percent)) for percent in (50, 99, 100))
        rows.append((kind, str(count), *columns))
    return rows


def main() -> None:
    """Print capacity and latencies."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--rate", type=float, default=5.0, help="requests per second in the open loop")
    parser.add_argument("--clients", type=int, default=4, help="requests always open in the closed loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--path", default="/v1/mask")
    args = parser.parse_args()
    print_machine()
    shot = Shot(args.path, jpeg_photo(args.megapixels))

    async def measure(server: Server) -> None:
        client = Client(server.host, server.port)
        closed = await closed_loop(client, lambda _: shot, clients=args.clients, seconds=args.seconds)
        capacity = rate_of(closed, begin_s=0, end_s=args.seconds)
        print(f"\nCapacity with {args.clients} clients: {capacity:.2f} pictures/s\n")
        header = ("closed loop, by status", "count", "p50", "p99", "max")
        print_table(header, by_status(closed))
        opened = await open_loop(client, lambda _: shot, rate=args.rate, seconds=args.seconds)
        print_table((f"open loop, {args.rate:g} per second, by status", *header[1:]), by_status(opened))
        await client.close()

    with Server(args.model, args.models_dir) as server:
        asyncio.run(measure(server))


if __name__ == "__main__":
    main()

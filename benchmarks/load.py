"""Load: requests sent at a pace of their own (open loop), or as fast as answers come (closed loop).

    python -m benchmarks.load [--rate 5] [--clients 4] [--seconds 10] [--megapixels 1] [--path /v1/mask]

Starts a server, measures its capacity with ``--clients`` requests always open, then sends at random
instants (Poisson) ``--rate`` times a second, whether or not the server keeps up. There a latency counts
from the instant at which the request was meant to leave, so a server that stalls cannot hide the wait
(coordinated omission). Prints latencies by status. The other benchmarks build on this module.
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

TIMER_S = 0.0015
"""How late a timer of an event loop may come, and a little more."""


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


async def open_loop(
    client: Client,
    choose: Callable[[int], Shot],
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
    has_own_core: bool = False,
) -> list[Result]:
    """Send ``rate`` requests a second at random instants for ``seconds``; wait for every answer.

    A client that ``has_own_core`` keeps it busy before each instant, so as not to miss it: timers of an event
    loop come up to a millisecond late.
    """
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    intended_s = chance.expovariate(rate)
    under_way: list[asyncio.Task[Result]] = []
    while intended_s < seconds:
        left_s = started_s + intended_s - loop.time()
        await asyncio.sleep(left_s - TIMER_S if has_own_core else left_s)
        while has_own_core and loop.time() < started_s + intended_s:  # noqa: ASYNC110 - the instant is no event
            await asyncio.sleep(0)
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
    args = parser.parse_args()
    print_machine()
    shot = Shot(args.path, jpeg_photo(args.megapixels))

    async def measure(server: Server) -> None:
        client = Client(server.host, server.port)
        at_once = await closed_loop(client, lambda _: shot, clients=args.clients, seconds=args.seconds)
        capacity = rate_of(at_once, begin_s=0, end_s=args.seconds)
        print(f"\nCapacity with {args.clients} clients: {capacity:.2f} pictures/s\n")
        header = ("closed loop, by status", "count", "p50", "p99", "max")
        print_table(header, by_status(at_once))
        paced = await open_loop(client, lambda _: shot, rate=args.rate, seconds=args.seconds)
        print_table((f"open loop, {args.rate:g} a second, by status", *header[1:]), by_status(paced))
        await client.close()

    with Server(args.model, args.models_dir) as server:
        asyncio.run(measure(server))


if __name__ == "__main__":
    main()

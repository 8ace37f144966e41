"""Overload: does the server stay as fast as ever when far more is asked of it than it can do?

    python -m benchmarks.overload [--seconds 60] [--factors 2 5 10] [--deadline-s 2] [--megapixels 1]

Measures the capacity with a closed loop, then sends 2, 5 and 10 times as much at random instants
(open loop), each for ``--seconds``. From the end of a burst on, a probe every four pictures' time tells
how long it takes until latencies are what they were before. The capacity is measured again after each
burst and the mean of both counts, since machines are shared. Every request has ``--deadline-s``.
The client shares the cores with the server, and works harder in a burst than in a capacity run: the
second row of goodput leaves out what the client took of them.

Goodput counts pictures answered within their deadline. Anything but 200 and a 503 with a whole number
of seconds in ``Retry-After`` is a failure; so is a connection that ends without an answer.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

import uvloop

from app.engine.models.device import usable_cores
from benchmarks.load import (
    Client,
    Result,
    Shot,
    by_status,
    closed_loop,
    fire,
    open_loop,
    percentile,
    rate_of,
)
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

NORMAL_FACTOR = 1.5
"""A probe is slow when it takes more than this many times the p99 before any burst."""
PROBING_S = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, and how the server's limits are judged."""

    shot: Shot
    clients: int
    capacity_s: float
    burst_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Pictures a second, and which part of the cores the client took meanwhile."""

    rate: float
    taken: float


def main() -> None:
    """Print a table of figures for each factor."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each burst")
    parser.add_argument("--capacity-seconds", type=float, default=10.0, help="length of each capacity run")
    parser.add_argument("--factors", type=float, nargs="+", default=[2.0, 5.0, 10.0])
    parser.add_argument("--clients", type=int, default=8, help="requests always open in a capacity run")
    parser.add_argument("--deadline-s", type=float, default=2.0)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--path", default="/v1/mask")
    args = parser.parse_args()
    print_machine()
    shot = Shot(args.path, jpeg_photo(args.megapixels))
    load = Load(shot, args.clients, args.capacity_seconds, args.seconds, args.deadline_s)
    settings = {"CUTOUT_LIMITS__DEADLINE_S": str(args.deadline_s)}
    print(f"{args.model}, {args.path}, {args.megapixels:g} MP JPEG of {len(shot.upload)} bytes\n")
    with Server(args.model, args.models_dir, settings) as server:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # takes less of the shared cores
            runner.run(_measure(server, load, args.factors))
        if not server.is_alive():
            print(f"**FAIL**: the server died:\n{server.log_tail()}")


async def _measure(server: Server, load: Load, factors: list[float]) -> None:
    client = Client(server.host, server.port, timeout_s=load.deadline_s + 30)
    await closed_loop(client, lambda _: load.shot, clients=load.clients, seconds=2)  # everything is warm
    before = await _capacity(client, load)
    every_s = 4 / before.rate
    normal_s = percentile((r.latency_s for r in await _probe(client, load, every_s)), 99)
    for factor in factors:
        cpu_s, started_s = time.process_time(), time.monotonic()
        results, recovered_s = await asyncio.gather(
            open_loop(client, lambda _: load.shot, rate=factor * before.rate, seconds=load.burst_s),
            _recovery_s(client, load, every_s=every_s, slow_s=NORMAL_FACTOR * normal_s),
        )
        taken = (time.process_time() - cpu_s) / (time.monotonic() - started_s) / usable_cores()
        after = await _capacity(client, load)
        peak = (before.rate + after.rate) / 2
        left = (1 - taken) / (1 - (before.taken + after.taken) / 2)
        print(f"## {factor:g} × the capacity of {before.rate:.2f} (after: {after.rate:.2f}) pictures/s\n")
        print_table(("answer", "count", "p50", "p99", "max"), by_status(results))
        print_figures(_figures(results, load, peak=peak, left=left, recovered_s=recovered_s))
        before = after
    await client.close()


async def _capacity(client: Client, load: Load) -> Capacity:
    cpu_s = time.process_time()
    results = await closed_loop(client, lambda _: load.shot, clients=load.clients, seconds=load.capacity_s)
    taken = (time.process_time() - cpu_s) / load.capacity_s / usable_cores()
    return Capacity(rate_of(results, begin_s=load.capacity_s * 0.1, end_s=load.capacity_s), taken)


async def _probe(client: Client, load: Load, every_s: float) -> list[Result]:
    """Send one request after another at even distances."""
    started_s = asyncio.get_running_loop().time()

    async def after(intended_s: float) -> Result:
        await asyncio.sleep(intended_s)
        return await fire(client, load.shot, started_s, intended_s=intended_s)

    return list(
        await asyncio.gather(*(after(number * every_s) for number in range(max(4, int(PROBING_S / every_s)))))
    )


async def _recovery_s(client: Client, load: Load, *, every_s: float, slow_s: float) -> float:
    """Return how long after the burst two probes in a row were slow or refused."""
    await asyncio.sleep(load.burst_s)
    results = await _probe(client, load, every_s)
    is_slow = [r.status != 200 or r.latency_s > slow_s for r in results]
    in_a_row = (index for index in range(1, len(results)) if is_slow[index - 1] and is_slow[index])
    return max((results[index].intended_s for index in in_a_row), default=0.0)


def _figures(
    results: list[Result], load: Load, *, peak: float, left: float, recovered_s: float
) -> list[Figure]:
    begin_s = min(2.0, load.burst_s / 4)
    in_time = [r for r in results if r.latency_s <= load.deadline_s]
    goodput = rate_of(in_time, begin_s=begin_s, end_s=load.burst_s)
    accepted_s = [r.latency_s for r in results if r.status == 200]
    refused = [r for r in results if r.status == 503]
    accepted = [r for r in results if r.status in (200, 504)]
    has_expired = [r for r in accepted if r.status == 504]
    without_hint = [r for r in refused if not (r.retry_after or "").isdigit()]
    return [
        Figure("goodput of peak", 100 * goodput / peak, 95, " %", is_floor=True),
        Figure("goodput of peak, client left out", 100 * goodput / peak / left, 95, " %", is_floor=True),
        Figure("connections that failed", sum(r.status == 0 for r in results), 0),
        Figure("answers other than 200 and 503", sum(r.status not in (0, 200, 503) for r in results), 0),
        Figure("503 without a whole Retry-After", len(without_hint), 0),
        Figure("accepted, then expired", 100 * len(has_expired) / max(1, len(accepted)), 1, " %"),
        Figure("accepted, p99", percentile(accepted_s, 99), load.deadline_s, " s"),
        Figure("refused, p99", 1e3 * percentile((r.latency_s for r in refused), 99), 50, " ms"),
        Figure("back to normal after", recovered_s, 2, " s"),
        Figure("client: sent late, p99", 1e3 * percentile((r.sent_late_s for r in results), 99), 10, " ms"),
    ]


if __name__ == "__main__":
    main()

"""Overload: does the server keep its goodput and latencies at a multiple of its capacity?

    python -m benchmarks.overload [--seconds 60] [--factors 2 5 10] [--deadline-s 2] [--megapixels 1]

Measures the capacity with a closed loop, then sends 2, 5 and 10 times as many requests at random instants
(open loop), each for ``--seconds``. From the end of a burst, a probe is sent each time four pictures would
take, to measure when latencies are back to normal. The capacity is measured again after each burst, and the
mean of both counts, because machines are shared. Every request has the deadline ``--deadline-s``. The client
shares the cores with the server and uses more of them in a burst than in a capacity run; the second row of
goodput corrects for that.

Goodput counts successful responses within their deadline. Any response other than 200, or 503 with a whole
number of seconds in ``Retry-After``, is a failure, and so is a connection that ends without a response.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

import uvloop

from app.engine.capacity.processor import usable_processor
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

SLOW_FACTOR = 1.5
"""A probe is slow if it takes longer than this multiple of the p99 before any burst."""
PROBE_DURATION_S = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """The requests to send, the durations of the loops, and the deadline."""

    shot: Shot
    clients: int
    capacity_s: float
    burst_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Pictures per second, and the share of the cores that the client used meanwhile."""

    rate: float
    client_share: float


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
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # uses less of the shared cores
            runner.run(_measure(server, load, args.factors))
        if not server.is_alive():
            print(f"**FAIL**: the server died:\n{server.log_tail()}")


async def _measure(server: Server, load: Load, factors: list[float]) -> None:
    client = Client(server.host, server.port, timeout_s=load.deadline_s + 30)
    await closed_loop(client, lambda _: load.shot, clients=load.clients, seconds=2)  # warm-up
    before = await _capacity(client, load)
    interval_s = 4 / before.rate
    normal_s = percentile((r.latency_s for r in await _probe(client, load, interval_s)), 99)
    for factor in factors:
        cpu_s, started_s = time.process_time(), time.monotonic()
        results, recovered_s = await asyncio.gather(
            open_loop(client, lambda _: load.shot, rate=factor * before.rate, seconds=load.burst_s),
            _recovery_s(client, load, interval_s=interval_s, slow_s=SLOW_FACTOR * normal_s),
        )
        client_share = (
            (time.process_time() - cpu_s) / (time.monotonic() - started_s) / usable_processor().threads
        )
        after = await _capacity(client, load)
        peak = (before.rate + after.rate) / 2
        server_share = (1 - client_share) / (1 - (before.client_share + after.client_share) / 2)
        print(f"## {factor:g} × the capacity of {before.rate:.2f} (after: {after.rate:.2f}) pictures/s\n")
        print_table(("response", "count", "p50", "p99", "max"), by_status(results))
        print_figures(_figures(results, load, peak=peak, server_share=server_share, recovered_s=recovered_s))
        before = after
    await client.close()


async def _capacity(client: Client, load: Load) -> Capacity:
    cpu_s = time.process_time()
    results = await closed_loop(client, lambda _: load.shot, clients=load.clients, seconds=load.capacity_s)
    client_share = (time.process_time() - cpu_s) / load.capacity_s / usable_processor().threads
    return Capacity(rate_of(results, begin_s=load.capacity_s * 0.1, end_s=load.capacity_s), client_share)


async def _probe(client: Client, load: Load, interval_s: float) -> list[Result]:
    """Send requests at regular intervals."""
    started_s = asyncio.get_running_loop().time()

    async def after(intended_s: float) -> Result:
        await asyncio.sleep(intended_s)
        return await fire(client, load.shot, started_s, intended_s=intended_s)

    return list(
        await asyncio.gather(
            *(after(number * interval_s) for number in range(max(4, int(PROBE_DURATION_S / interval_s))))
        )
    )


async def _recovery_s(client: Client, load: Load, *, interval_s: float, slow_s: float) -> float:
    """Return the time after the burst at which two probes in a row were last slow or refused."""
    await asyncio.sleep(load.burst_s)
    results = await _probe(client, load, interval_s)
    is_slow = [r.status != 200 or r.latency_s > slow_s for r in results]
    in_a_row = (index for index in range(1, len(results)) if is_slow[index - 1] and is_slow[index])
    return max((results[index].intended_s for index in in_a_row), default=0.0)


def _figures(
    results: list[Result], load: Load, *, peak: float, server_share: float, recovered_s: float
) -> list[Figure]:
    begin_s = min(2.0, load.burst_s / 4)
    in_time = [r for r in results if r.latency_s <= load.deadline_s]
    goodput = rate_of(in_time, begin_s=begin_s, end_s=load.burst_s)
    accepted_s = [r.latency_s for r in results if r.status == 200]
    refused = [r for r in results if r.status == 503]
    accepted = [r for r in results if r.status in (200, 504)]
    expired = [r for r in accepted if r.status == 504]
    without_hint = [r for r in refused if not (r.retry_after or "").isdigit()]
    return [
        Figure("goodput of peak", 100 * goodput / peak, 95, " %", is_floor=True),
        Figure(
            "goodput of peak, corrected for the client",
            100 * goodput / peak / server_share,
            95,
            " %",
            is_floor=True,
        ),
        Figure("connections that failed", sum(r.status == 0 for r in results), 0),
        Figure("responses other than 200 and 503", sum(r.status not in (0, 200, 503) for r in results), 0),
        Figure("503 without a whole Retry-After", len(without_hint), 0),
        Figure("accepted, then expired", 100 * len(expired) / max(1, len(accepted)), 1, " %"),
        Figure("accepted, p99", percentile(accepted_s, 99), load.deadline_s, " s"),
        Figure("refused, p99", 1e3 * percentile((r.latency_s for r in refused), 99), 50, " ms"),
        Figure("back to normal after", recovered_s, 2, " s"),
        Figure("client: sent late, p99", 1e3 * percentile((r.sent_late_s for r in results), 99), 10, " ms"),
    ]


if __name__ == "__main__":
    main()

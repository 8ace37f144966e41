"""Two models: whether a large network slows down the requests for a small one, and whether it starves itself.

    python -m benchmarks.two_models --models-dir FOLDER [--share 0.4] [--rounds 3] [--seconds 20]

FOLDER is one made by ``benchmarks/large_model.py``. In each round requests for the small model arrive at
random instants, first alone and then while a client sends one request for the large model after the other; so
the two are compared in neighbouring seconds. Fails if the small model's p99 exceeds twice its p99 alone, if a
request of either is not served, or if the process needs more than its warm models and its budget.
"""

import argparse
import asyncio
from dataclasses import dataclass

from benchmarks.client import Client, Shot
from benchmarks.load import Result, closed_loop, open_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

WARM_UP_S = 5.0
BUDGET_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of all rounds."""

    alone: list[Result]
    mixed: list[Result]
    large: list[Result]
    large_alone: list[Result]
    warm_bytes: int


async def _measure(server: Server, args: argparse.Namespace) -> Measured:
    client = Client(server.host, server.port)
    photo = jpeg_photo(args.megapixels)
    small = Shot(f"/v1/mask?model={args.model}", photo)
    large = Shot(f"/v1/mask?model={args.large}", photo)
    await client.post(large)  # loads it
    warm = await closed_loop(client, lambda _: small, clients=1, seconds=WARM_UP_S)
    rate = args.share * rate_of(warm, begin_s=0, end_s=WARM_UP_S)
    server.forget_peak()
    found = Measured([], [], [], [], server.rss_bytes())
    for number in range(args.rounds):
        found.large_alone.extend(await closed_loop(client, lambda _: large, clients=1, seconds=1))
        shots = {"rate": rate, "seconds": args.seconds}
        found.alone.extend(await open_loop(client, lambda _: small, **shots, seed=number))
        mixed, with_small = await asyncio.gather(
            open_loop(client, lambda _: small, **shots, seed=number),
            closed_loop(client, lambda _: large, clients=1, seconds=args.seconds),
        )
        found.mixed.extend(mixed)
        found.large.extend(with_small)
    await client.close()
    return found


def _rows(found: Measured) -> list[tuple[str, ...]]:
    kinds = {
        "small, alone": found.alone,
        "small, with the large one": found.mixed,
        "large, alone": found.large_alone,
        "large, with the small one": found.large,
    }
    return [
        (
            name,
            str(len(results)),
            *(milliseconds(percentile((r.latency_s for r in results), p)) for p in (50, 99, 100)),
        )
        for name, results in kinds.items()
    ]


def main() -> None:
    """Print the latencies and the figures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--large", default="large")
    parser.add_argument("--share", type=float, default=0.4, help="of the small model's capacity, as its load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--megapixels", type=float, default=0.25)
    args = parser.parse_args()
    print_machine()
    with Server(args.model, args.models_dir, {"CUTOUT_MEMORY_BUDGET": str(BUDGET_BYTES)}) as server:
        found = asyncio.run(_measure(server, args))
        above_bytes = server.peak_bytes() - found.warm_bytes
    print_table(("requests", "count", "p50", "p99", "max"), _rows(found))
    p99 = {
        name: percentile((r.latency_s for r in results), 99)
        for name, results in (("alone", found.alone), ("mixed", found.mixed))
    }
    slowest = max(r.latency_s for r in found.large) / max(r.latency_s for r in found.large_alone)
    failed = sum(r.status != 200 for r in (*found.alone, *found.mixed, *found.large))
    print_figures(
        [
            Figure(
                "small model's p99, with the large one as a multiple of alone", p99["mixed"] / p99["alone"], 2
            ),
            Figure("large model's slowest request as a multiple of alone", slowest, 3),
            Figure("requests that were not served", failed, 0),
            Figure("memory above the warm models", above_bytes / 2**20, BUDGET_BYTES / 2**20, " MiB"),
        ]
    )


if __name__ == "__main__":
    main()

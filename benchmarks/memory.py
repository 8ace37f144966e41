"""Memory: the ceiling of a server under overload. What each path takes is for ``benchmarks.footprint``.

    python -m benchmarks.memory [--requests 10000] [--factor 3] [--budget BYTES]

A server gets ``--factor`` times its capacity of pictures from 0.3 to 24 megapixels, all paths. Its peak must
stay below what it held when ready and warm plus the budget. Memory against answered requests in the last two
thirds must not rise by more than 1 MB per 1,000 (Theil–Sen slope). A few thousand requests are needed before
that slope says anything.

Linux only: reads ``/proc``.
"""

import argparse
import asyncio
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from benchmarks.client import Client, Shot
from benchmarks.lag import lag_figures
from benchmarks.load import by_status, closed_loop, open_loop, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

FORMATS = ("png", "webp", "jpeg", "avif")
SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One path through the pipeline."""

    endpoint: str
    matting: str
    format: str

    @property
    def query(self) -> dict[str, str]:
        """The options that lead along this path."""
        is_jpeg_cutout = self.endpoint == "cutout" and self.format == "jpeg"
        background = {"background": "#ffffff"} if is_jpeg_cutout else {}
        return {"matting": self.matting, "format": self.format, **background}


CASES = tuple(
    Case(endpoint, matting, format_)
    for endpoint in ("mask", "cutout")
    for matting in ("none", "fast")
    for format_ in FORMATS
)


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--requests", type=int, default=10_000, help="requests of the overload")
    parser.add_argument("--factor", type=float, default=3.0, help="of the capacity, in the overload")
    parser.add_argument("--budget", type=int, default=3_150_000_000, help="memory budget, in bytes")
    args = parser.parse_args()
    print_machine()
    with Server(args.model, args.models_dir, {"CUTOUT_MEMORY_BUDGET": str(args.budget)}) as server:
        asyncio.run(_overload(server, args.requests, args.factor, _mixture()))


def _mixture() -> list[Shot]:
    """Build pictures from 0.3 to 24 megapixels, small ones more often, over all paths."""
    chance = random.Random(0)
    uploads = [jpeg_photo(0.3 * 80 ** (step / 11), seed=step) for step in range(12)]
    shots = []
    for case in CASES:
        options = "&".join(f"{name}={text.replace('#', '%23')}" for name, text in case.query.items())
        shots += [Shot(f"/v1/{case.endpoint}?{options}", upload) for upload in uploads]
    chance.shuffle(shots)
    return shots


async def _overload(server: Server, requests: int, factor: float, shots: Sequence[Shot]) -> None:
    client = Client(server.host, server.port)
    small = min(shots, key=lambda shot: len(shot.upload))
    await closed_loop(client, lambda _: small, clients=4, seconds=3)
    base_bytes = server.rss_bytes()
    server.forget_peak()
    first = await closed_loop(client, lambda n: shots[n % len(shots)], clients=4, seconds=20)
    capacity = rate_of(first, begin_s=0, end_s=20)
    seconds = requests / (factor * capacity)
    samples: list[tuple[float, int, int]] = []
    before = server.metrics()
    sampling = asyncio.create_task(_sample(server, samples))
    results = await open_loop(
        client, lambda n: shots[n % len(shots)], rate=factor * capacity, seconds=seconds
    )
    sampling.cancel()
    await client.close()
    metrics = server.metrics()
    budget_bytes = metrics["cutout_limit_memory_bytes"] + metrics["cutout_limit_bytes"]
    print(
        f"## {len(results)} requests of 0.3 to 24 megapixels at {factor:g} × the capacity of "
        f"{capacity:.2f} a second\n"
    )
    print_table(("answer", "count", "p50", "p99", "max"), by_status(results))
    max_bytes = max((held for _, _, held in samples), default=0)
    print(f"Held {base_bytes / 2**20:.0f} MiB when warm; at most {max_bytes / 2**20:.0f} MiB were counted")
    print(f"in flight; holds {server.rss_bytes() / 2**20:.0f} MiB now.\n")
    plateau = samples[len(samples) // 3 :]
    slope = _theil_sen([(x, y) for x, y, _ in plateau]) * 1000 / 1e6
    ceiling = (base_bytes + budget_bytes) / 2**20
    figures = [
        Figure("peak", server.peak_bytes() / 2**20, ceiling, " MiB"),
        Figure("slope per 1,000 answered requests", slope, 1, " MB"),
        Figure("connections that failed", sum(r.status == 0 for r in results), 0),
        *lag_figures(before, metrics),
    ]
    print_figures(figures)


async def _sample(server: Server, samples: list[tuple[float, int, int]]) -> None:
    """Note answered requests, memory held and memory counted, again and again."""
    while True:
        metrics = await asyncio.to_thread(server.metrics)
        is_count = "cutout_requests_total,"
        answered = sum(value for name, value in metrics.items() if name.startswith(is_count))
        samples.append((answered, server.rss_bytes(), int(metrics["cutout_inflight_memory_bytes"])))
        await asyncio.sleep(SAMPLE_EVERY_S)


def _theil_sen(points: Sequence[tuple[float, float]], maximum: int = 400) -> float:
    """Return the median slope of all pairs of at most ``most`` points, evenly chosen."""
    chosen = points[:: -(-len(points) // maximum) or 1]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(chosen, 2) if x2 > x1]
    return statistics.median(slopes) if slopes else math.nan


if __name__ == "__main__":
    main()

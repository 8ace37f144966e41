"""Memory: the peak memory of a server under overload; ``benchmarks.footprint`` measures single paths.

    python -m benchmarks.memory [--requests 10000] [--factor 3] [--budget BYTES]

Sends ``--factor`` times the capacity of the server, with pictures from 0.3 to 24 megapixels on all paths. The
peak must stay below the memory of the warm server plus the budget. In the last two thirds, memory must not
grow by more than 1 MB per 1,000 responses (Theil–Sen slope); the slope is meaningful only after a few
thousand requests.

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
        """The options of this path."""
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
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests in the overload")
    parser.add_argument("--factor", type=float, default=3.0, help="load as a multiple of the capacity")
    parser.add_argument("--budget", type=int, default=3_150_000_000, help="memory budget, in bytes")
    args = parser.parse_args()
    print_machine()
    with Server(args.model, args.models_dir, {"CUTOUT_MEMORY_BUDGET": str(args.budget)}) as server:
        asyncio.run(_overload(server, args.requests, args.factor, _mixed_requests()))


def _mixed_requests() -> list[Shot]:
    """Build requests with pictures from 0.3 to 24 megapixels, mostly small ones, for all paths."""
    rng = random.Random(0)
    uploads = [jpeg_photo(0.3 * 80 ** (step / 11), seed=step) for step in range(12)]
    shots = []
    for case in CASES:
        options = "&".join(f"{name}={text.replace('#', '%23')}" for name, text in case.query.items())
        shots += [Shot(f"/v1/{case.endpoint}?{options}", upload) for upload in uploads]
    rng.shuffle(shots)
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
        f"{capacity:.2f} per second\n"
    )
    print_table(("response", "count", "p50", "p99", "max"), by_status(results))
    max_bytes = max((counted_bytes for _, _, counted_bytes in samples), default=0)
    print(f"Memory when warm {base_bytes / 2**20:.0f} MiB, now {server.rss_bytes() / 2**20:.0f} MiB;")
    print(f"at most {max_bytes / 2**20:.0f} MiB counted for requests in flight.\n")
    plateau = samples[len(samples) // 3 :]
    slope = _theil_sen([(x, y) for x, y, _ in plateau]) * 1000 / 1e6
    ceiling = (base_bytes + budget_bytes) / 2**20
    figures = [
        Figure("peak", server.peak_bytes() / 2**20, ceiling, " MiB"),
        Figure("slope per 1,000 responses", slope, 1, " MB"),
        Figure("connections that failed", sum(r.status == 0 for r in results), 0),
        *lag_figures(before, metrics),
    ]
    print_figures(figures)


async def _sample(server: Server, samples: list[tuple[float, int, int]]) -> None:
    """Record the number of responses, resident memory and counted memory at intervals."""
    while True:
        metrics = await asyncio.to_thread(server.metrics)
        prefix = "cutout_requests_total,"
        responses = sum(value for name, value in metrics.items() if name.startswith(prefix))
        samples.append((responses, server.rss_bytes(), int(metrics["cutout_inflight_memory_bytes"])))
        await asyncio.sleep(SAMPLE_EVERY_S)


def _theil_sen(points: Sequence[tuple[float, float]], max_points: int = 400) -> float:
    """Return the median slope over all pairs of at most ``max_points`` evenly chosen points."""
    chosen = points[:: -(-len(points) // max_points) or 1]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(chosen, 2) if x2 > x1]
    return statistics.median(slopes) if slopes else math.nan


if __name__ == "__main__":
    main()

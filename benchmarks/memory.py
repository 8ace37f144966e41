"""Memory: bytes a pixel at the peak of each path, and the ceiling of a server under overload.

    python -m benchmarks.memory [--megapixels 24] [--requests 10000] [--parts paths ceiling]

paths    One picture through ``app.pipeline``, wired as the command line wires it, in a fresh process for
         each path. A small picture goes first, so that what is loaded once does not count. The high-water
         mark (``VmHWM``, reset beforehand) above what the process held before, divided by the pixels,
         must not exceed ``BYTES_PER_PIXEL`` of ``app/engine/memory.py``.
ceiling  A server under ``--factor`` times its capacity of pictures from 0.3 to 24 megapixels, all paths.
         Its peak must stay below what it held when ready and warm plus the budget: pixels that may be in
         flight times ``BYTES_PER_PIXEL``, and bytes of uploads. Memory against answered requests in the
         last two thirds must not rise by more than 1 MB per 1,000 (Theil–Sen slope). A few thousand
         requests are needed before that slope says anything.

Linux only: reads ``/proc``.
"""

import argparse
import asyncio
import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from app.engine.admission import Admission
from app.engine.clock import SystemClock
from app.engine.memory import BYTES_PER_PIXEL
from app.main import budget_of, open_pipeline
from app.options import CutoutOptions, MaskOptions, parse_options
from app.pipeline import Job, Pipeline
from app.settings import Settings
from app.telemetry import StepTimes, Telemetry
from benchmarks.client import Client, Shot
from benchmarks.lag import lag_figures
from benchmarks.load import by_status, closed_loop, open_loop, rate_of
from benchmarks.pictures import jpeg_photo, upload_of
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import ROOT, Server, add_server_arguments, forget_peak, status_bytes

FORMATS = ("png", "webp", "jpeg", "avif")
UPLOADS = ("jpeg", "turned jpeg", "png with alpha", "webp")
SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One path through the pipeline."""

    endpoint: str
    matting: str
    format: str
    upload: str = "jpeg"
    quality: int = 90

    @property
    def query(self) -> dict[str, str]:
        """The options that lead along this path."""
        is_jpeg_cutout = self.endpoint == "cutout" and self.format == "jpeg"
        background = {"background": "#ffffff"} if is_jpeg_cutout else {}
        quality = {} if self.format == "png" else {"quality": str(self.quality)}
        return {"matting": self.matting, "format": self.format, **background, **quality}


CASES = tuple(
    Case(endpoint, matting, format_)
    for endpoint in ("mask", "cutout")
    for matting in ("none", "fast")
    for format_ in FORMATS
)
COSTLY_CASES = (
    *(Case("cutout", "fast", "png", upload) for upload in UPLOADS[1:]),
    *(Case("cutout", "fast", "webp", upload) for upload in UPLOADS[1:]),
    *(Case("cutout", "fast", "avif", upload) for upload in UPLOADS[1:]),
    *(Case("cutout", "fast", "zip", upload) for upload in UPLOADS),
    *(Case("cutout", "fast", "webp", upload, quality=100) for upload in ("jpeg", "png with alpha")),
)


def main() -> None:
    """Print a table for each part, or carry one picture if asked by the parent."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--megapixels", type=float, default=24.0, help="size of the picture of each path")
    parser.add_argument("--requests", type=int, default=10_000, help="requests of the overload")
    parser.add_argument("--factor", type=float, default=3.0, help="of the capacity, in the overload")
    parser.add_argument("--in-flight-pixels", type=int, default=60_000_000, help="the budget to hold")
    parser.add_argument("--parts", nargs="+", choices=("paths", "ceiling"), default=["paths", "ceiling"])
    parser.add_argument("--one-path", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one_path:
        print(asyncio.run(_carry_one(Case(**json.loads(asked.one_path)), asked)))
        return
    print_machine()
    if "paths" in asked.parts:
        _measure_paths(asked)
    if "ceiling" in asked.parts:
        _measure_ceiling(asked)


def _measure_paths(asked: argparse.Namespace) -> None:
    print(f"## Bytes a pixel at the peak, {asked.megapixels:g} megapixels, {asked.model}\n")
    uploads = {kind: upload_of(kind, asked.megapixels) for kind in UPLOADS}
    figures = []
    for case in (*CASES, *COSTLY_CASES):
        fields = {name: getattr(case, name) for name in Case.__slots__}
        chosen = ("--model", asked.model, "--models-dir", str(asked.models_dir))
        command = (sys.executable, "-m", "benchmarks.memory", *chosen, "--one-path", json.dumps(fields))
        ended = subprocess.run(
            command, input=uploads[case.upload], stdout=subprocess.PIPE, check=True, cwd=ROOT
        )
        name = f"{case.upload} to /v1/{case.endpoint}, matting {case.matting}, {case.format}"
        name += f" of quality {case.quality}" if case.format != "png" else ""
        figures.append(Figure(name, float(ended.stdout), BYTES_PER_PIXEL))
    print_figures(figures)


async def _carry_one(case: Case, asked: argparse.Namespace) -> float:
    """Carry the picture on the standard input; return bytes a pixel above what was held before."""
    upload = sys.stdin.buffer.read()
    device = os.environ.get("CUTOUT_DEVICE", "cpu")
    settings = Settings(models=(asked.model,), models_dir=asked.models_dir, device=device)
    pipeline = open_pipeline(settings, Telemetry())
    admission = Admission(budget_of(settings))
    await _carry(pipeline, admission, case, jpeg_photo(0.3))
    held_bytes = status_bytes("self", "VmRSS")
    forget_peak("self")
    pixels = await _carry(pipeline, admission, case, upload)
    peak_bytes = status_bytes("self", "VmHWM")
    pipeline.close()
    return (peak_bytes - held_bytes) / pixels


async def _carry(pipeline: Pipeline, admission: Admission, case: Case, upload: bytes) -> int:
    """Carry one picture and return its pixels."""
    clock = SystemClock()
    with admission.enter() as permit:
        job = Job(permit, StepTimes(clock), clock.now_s() + 600)
        if case.endpoint == "mask":
            answer = await pipeline.mask(upload, parse_options(MaskOptions, case.query), job)
        else:
            answer = await pipeline.cutout(upload, parse_options(CutoutOptions, case.query), job)
    return answer.width_px * answer.height_px


def _measure_ceiling(asked: argparse.Namespace) -> None:
    settings = {"CUTOUT_LIMITS__IN_FLIGHT_PIXELS": str(asked.in_flight_pixels)}
    with Server(asked.model, asked.models_dir, settings) as server:
        asyncio.run(_overload(server, asked.requests, asked.factor, _mixture()))


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
    budget_bytes = metrics["cutout_limit_pixels"] * BYTES_PER_PIXEL + metrics["cutout_limit_bytes"]
    print(
        f"## {len(results)} requests of 0.3 to 24 megapixels at {factor:g} × the capacity of "
        f"{capacity:.2f} a second\n"
    )
    print_table(("answer", "count", "p50", "p99", "max"), by_status(results))
    most_pixels = max((pixels for _, _, pixels in samples), default=0)
    print(
        f"Held {base_bytes / 2**20:.0f} MiB when warm; at most {most_pixels / 1e6:.0f} megapixels were seen"
    )
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
    """Note answered requests, memory held and pixels in flight, again and again."""
    while True:
        metrics = await asyncio.to_thread(server.metrics)
        is_count = "cutout_requests_total,"
        answered = sum(value for name, value in metrics.items() if name.startswith(is_count))
        samples.append((answered, server.rss_bytes(), int(metrics["cutout_inflight_pixels"])))
        await asyncio.sleep(SAMPLE_EVERY_S)


def _theil_sen(points: Sequence[tuple[float, float]], most: int = 400) -> float:
    """Return the median slope of all pairs of at most ``most`` points, evenly chosen."""
    chosen = points[:: -(-len(points) // most) or 1]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(chosen, 2) if x2 > x1]
    return statistics.median(slopes) if slopes else math.nan


if __name__ == "__main__":
    main()

"""Engine: the cost of batching, the queue and HTTP, each compared with a bound measured in the same run.

    python -m benchmarks.engine [--model u2netp] [--seconds 6] [--parts batcher network overhead pipeline]

batcher   A simulated network (5 ms per run and 1 ms per picture, batches of 32, the queue never empty)
          compared with the theoretical rate 32/(5 + 32 · 1), and with the same network in a bare loop.
network   The real network on decoded pictures, through the batcher, compared with its session in a bare
          loop with the same threads. Short rounds of both alternate; the median of their ratios counts.
overhead  ``benchmarks.noop`` on one core at half of its capacity, the client on another core: requests of
          100 kB (a 64 × 64 JPEG filled up with comments, so that decoding takes almost no time) to
          ``/v1/mask``. The overhead is the client's latency from the intended instant, minus the steps in
          ``Server-Timing`` that work on pixels (decode, prepare, infer, matte, compose, encode). For
          comparison, the latency of a FastAPI route that only reads the body, at the same rate: the
          minimum on this machine.
pipeline  JPEG uploads over HTTP compared with the bound set by the cores: cores, minus the share that the
          client and other programs used meanwhile, divided by the processor time of one request in a
          serial run. Only valid on a CPU, not with a GPU. Also the lag of the event loop.
"""

import argparse
import asyncio
import gc
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.cli.worker import SWITCH_INTERVAL_S
from app.engine.capacity.processor import usable_processor
from benchmarks.client import Client, Shot
from benchmarks.lag import lag_figures
from benchmarks.load import Result, closed_loop, open_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine, print_table
from benchmarks.runs import measure_batcher, measure_network
from benchmarks.server import Server, add_server_arguments, machine_busy_s

PIXEL_STEPS = ("decode", "prepare", "infer", "matte", "compose", "encode")


def main() -> None:
    """Print a table for each part."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measurement")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    print_machine()
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as in the server process
    for part in args.parts:
        PARTS[part](args.model, args.models_dir, args.seconds)


def measure_overhead(model: str, models_dir: Path, seconds: float) -> None:
    """Print the overhead of a request, without the work on its picture."""
    shot = Shot("/v1/mask", padded_jpeg(100_000))
    settings = {"CUTOUT_MODELS": model, "CUTOUT_WEB__PORT": "0"}
    with _client_on_its_own_core() as core:
        command = (sys.executable, "-m", "benchmarks.noop", "--core", str(core))
        with Server(model, models_dir, settings, command=command) as server:
            capacity, results = asyncio.run(_at_half_load(server, shot, seconds))
        with Server(model, models_dir, settings, command=(*command, "--bare")) as server:
            bare = asyncio.run(_paced(server, shot, capacity / 2, seconds))
    bare_s = [r.latency_s for r in bare if r.status == 200]
    steps = [_step_seconds(r.server_timing) for r in results if r.status == 200]
    latencies_s = [r.latency_s for r in results if r.status == 200]
    overheads = [
        latency - sum(s.get(name, 0.0) for name in PIXEL_STEPS)
        for latency, s in zip(latencies_s, steps, strict=True)
    ]
    server_overheads = [s.get("total", 0.0) - sum(s.get(name, 0.0) for name in PIXEL_STEPS) for s in steps]
    print(f"## Overhead of a request of {len(shot.upload)} bytes with a no-op network\n")
    print(f"At half of the capacity of {capacity:.0f} requests/s.\n")
    rows = [
        ("latency", latencies_s),
        ("latency of a bare route", bare_s),
        ("in the server, without steps on pixels", server_overheads),
        ("sent late by the client", [r.sent_late_s for r in results if r.status == 200]),
    ]
    rows += [(name, [s[name] for s in steps if name in s]) for name in (*PIXEL_STEPS, "receive", "batch")]
    columns = [
        (name, *(milliseconds(percentile(values, percent)) for percent in (50, 99))) for name, values in rows
    ]
    print_table(("part", "p50", "p99"), columns)
    print_figures(
        [
            Figure("overhead, p50", 1e3 * percentile(overheads, 50), 0.8, " ms"),
            Figure("overhead, p99", 1e3 * percentile(overheads, 99), 3, " ms"),
            Figure(
                "overhead, p50, of a bare route", percentile(overheads, 50) / percentile(bare_s, 50), 2, " ×"
            ),
            Figure("requests that failed", len(results) - len(latencies_s), 0),
        ]
    )


@contextmanager
def _client_on_its_own_core() -> Iterator[int]:
    """Pin the client to one core and disable its garbage collector; yield another core for the server."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("The overhead part needs a core for the client and one for the server.")
    os.sched_setaffinity(0, {cores[1]})
    gc.disable()
    try:
        yield cores[0]
    finally:
        gc.enable()
        os.sched_setaffinity(0, cores)


async def _at_half_load(server: Server, shot: Shot, seconds: float) -> tuple[float, list[Result]]:
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: shot, clients=4, seconds=1)
    at_once = await closed_loop(client, lambda _: shot, clients=8, seconds=seconds)
    capacity = rate_of(at_once, begin_s=0, end_s=seconds)
    await client.close()
    return capacity, await _paced(server, shot, capacity / 2, seconds)


async def _paced(server: Server, shot: Shot, rate: float, seconds: float) -> list[Result]:
    client = Client(server.host, server.port)
    results = await open_loop(client, lambda _: shot, rate=rate, seconds=2 * seconds, has_own_core=True)
    await client.close()
    return results


def measure_pipeline(model: str, models_dir: Path, seconds: float) -> None:
    """Print the rate of pictures over HTTP, as a share of the bound set by the cores."""
    figures = []
    lags: list[Figure] = []
    with Server(model, models_dir) as server:
        for megapixels in (1, 12):
            before = server.metrics()
            for path in ("/v1/mask", "/v1/cutout"):
                shot = Shot(path, jpeg_photo(megapixels))
                cost = asyncio.run(_against_cores(server, shot, max(seconds, megapixels)))
                costs = f"{1e3 * cost.alone_s:.0f} ms of a core (side by side {1e3 * cost.together_s:.0f})"
                name = f"{path}, {megapixels} MP: {cost.rate:.2f} pictures/s of {costs}"
                figures.append(Figure(f"{name}, of the bound", cost.of_bound, 90, " %", is_floor=True))
            lags = lag_figures(before, server.metrics())
    print(f"## {model}, JPEG to PNG over HTTP, {usable_processor().threads} cores\n")
    print_figures(figures)
    print("While the 12-megapixel pictures were processed:\n")
    print_figures(lags)


@dataclass(frozen=True, slots=True)
class PipelineCost:
    """The cost of the pipeline in processor time.

    Attributes:
        rate: Pictures per second.
        of_bound: The rate in percent of the bound set by the cores, at the cost of one request alone.
        alone_s: Processor seconds per request when requests run one by one.
        together_s: Processor seconds per request when requests run in parallel, sharing caches and memory.
    """

    rate: float
    of_bound: float
    alone_s: float
    together_s: float


async def _against_cores(server: Server, shot: Shot, seconds: float) -> PipelineCost:
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: shot, clients=1, seconds=1)
    before_s = server.cpu_s()
    serial = await closed_loop(client, lambda _: shot, clients=1, seconds=seconds)
    each_s = (server.cpu_s() - before_s) / len(serial)
    cores = usable_processor().threads
    before_s, busy_s, started_s = server.cpu_s(), machine_busy_s(), time.monotonic()
    results = await closed_loop(client, lambda _: shot, clients=2 * cores, seconds=seconds)
    took_s = time.monotonic() - started_s
    server_s = server.cpu_s() - before_s
    others_s = (machine_busy_s() - busy_s) - server_s
    await client.close()
    rate = sum(r.status == 200 for r in results) / took_s
    bound = (cores - max(0.0, others_s) / took_s) / each_s
    return PipelineCost(rate, 100 * rate / bound, each_s, server_s / len(results))


def padded_jpeg(size: int) -> bytes:
    """Build a small JPEG, filled up with comments to ``size`` bytes."""
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 130, 170)).save(encoded, "JPEG")
    picture, comments = encoded.getvalue(), b""
    while (missing := size - len(picture) - len(comments)) > 4:
        length = min(missing - 2, 65_535)
        comments += b"\xff\xfe" + length.to_bytes(2, "big") + b"." * (length - 2)
    return picture[:2] + comments + picture[2:]


def _step_seconds(server_timing: str) -> dict[str, float]:
    parts = (part.strip().partition(";dur=") for part in server_timing.split(","))
    return {name: float(text) / 1e3 for name, _, text in parts if text}


PARTS: dict[str, Callable[[str, Path, float], None]] = {
    "batcher": measure_batcher,
    "network": measure_network,
    "overhead": measure_overhead,
    "pipeline": measure_pipeline,
}

if __name__ == "__main__":
    main()

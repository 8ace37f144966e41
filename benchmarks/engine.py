"""Engine: what batching, the queue and HTTP cost, each against a bound measured in the same run.

    python -m benchmarks.engine [--model u2netp] [--seconds 6] [--parts batcher network overhead journey]

batcher   A simulated network (5 ms a run and 1 ms a picture, batches of 32, always enough waiting)
          against the theory 32/(5 + 32 · 1), and against the same network in a bare loop.
network   The real network on decoded pictures, through the batcher, against its session in a bare
          loop with the same threads. Short rounds of both alternate; the median of their ratios counts.
overhead  ``benchmarks.noop`` at half of what it can do: a request of 100 kB (a 64 × 64 JPEG, the rest
          of it a comment, so that decoding is next to nothing) to ``/v1/mask``. The overhead is what
          the client waits from the intended instant, less the steps in ``Server-Timing`` that work on
          pixels (decode, prepare, infer, matte, compose, encode). Beside it, what a client waits for a
          FastAPI route that only reads the body, at the same rate: the floor on this machine.
journey   JPEG uploads over HTTP against the bound that the cores allow: cores, less what the client
          and other programs took of them meanwhile, divided by the processor time of one request in a
          serial run. Only on a CPU; with a GPU this bound means nothing. Also how late the event loop was.
"""

import argparse
import asyncio
import io
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from app.engine.batching import Batcher
from app.engine.clock import SystemClock
from app.engine.device import usable_cores
from app.engine.planning import BatchLimits, CostTable, Ticket
from app.main import open_pipeline
from app.settings import Settings
from app.telemetry import Telemetry
from benchmarks.client import Client, Shot
from benchmarks.lag import lag_figures
from benchmarks.load import Result, closed_loop, open_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments, machine_busy_s
from tests.fakes import RecordingObserver, SimulatedBackend

ALPHA_S, BETA_S, LARGEST = 0.005, 0.001, 32
ROUNDS = 5
PIXEL_STEPS = ("decode", "prepare", "infer", "matte", "compose", "encode")


def main() -> None:
    """Print a table for each part."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measurement")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    asked = parser.parse_args()
    print_machine()
    for part in asked.parts:
        PARTS[part](asked.model, asked.models_dir, asked.seconds)


def measure_batcher(_: str, __: Path, seconds: float) -> None:
    """Print how close the batcher comes to what its backend can do."""
    backend = SimulatedBackend(ALPHA_S, BETA_S, spend=_sleep_exactly)
    batch = np.zeros((LARGEST, 8, 8, 3), np.uint8)
    sizes = (1, 2, 4, 8, 16, LARGEST)
    costs = CostTable({"simulated": {size: ALPHA_S + BETA_S * size for size in sizes}})
    limits = BatchLimits(LARGEST, 0.0, 8 * LARGEST)
    batcher = Batcher(backend, limits, SystemClock(), RecordingObserver(), costs)
    batcher.start()
    bare, batched = _alternate(
        lambda s: _rate(lambda: backend.prepare_run("simulated", batch).result(), LARGEST, s),
        lambda s: _through(batcher, "simulated", batch[0], s, waiting=4 * LARGEST),
        seconds,
    )
    batcher.stop()
    theory = LARGEST / (ALPHA_S + LARGEST * BETA_S)
    print("## Batcher on a simulated network\n")
    ratio = _ratio(batched, bare)
    to_theory = 100 * statistics.median(batched) / theory
    print(f"Theory {theory:.1f}, bare loop {statistics.median(bare):.1f} pictures/s.\n")
    print_figures(
        [
            Figure("batcher, of theory", to_theory, 98, " %", is_floor=True),
            Figure("batcher, of a bare loop", ratio, 98, " %", is_floor=True),
        ]
    )


def measure_network(model: str, models_dir: Path, seconds: float) -> None:
    """Print how close the engine comes to the session alone."""
    pipeline = open_pipeline(
        Settings(models=(model,), models_dir=models_dir, device=os.environ.get("CUTOUT_DEVICE", "cpu")),
        Telemetry(),
    )
    session = pipeline.models.sessions[model]
    side = session.manifest.input_size_px
    pictures = np.random.default_rng(0).integers(0, 256, (LARGEST, side, side, 3), np.uint8)
    best = LARGEST if session.provider.startswith("CUDA") else 1
    figures = []
    for size in sorted({1, best}):
        limits = BatchLimits(size, 0.0, 8 * LARGEST)
        batcher = Batcher(pipeline.models, limits, SystemClock(), RecordingObserver())
        batcher.start()
        bare, batched = _alternate(
            lambda s, size=size: _rate(lambda: session.prepare_run(pictures[:size]).result(), size, s),
            lambda s, size=size, to=batcher: _through(to, model, pictures[0], s, waiting=2 * size),
            seconds,
        )
        batcher.stop()
        name = f"engine, of {statistics.median(bare):.2f} pictures/s in a bare loop, batch {size}"
        figures.append(Figure(name, _ratio(batched, bare), 97, " %", is_floor=True))
    pipeline.close()
    print(f"## {model} on {session.provider}, decoded pictures\n")
    print_figures(figures)


def measure_overhead(model: str, models_dir: Path, seconds: float) -> None:
    """Print what a request costs besides its picture."""
    shot = Shot("/v1/mask", _padded_jpeg(100_000))
    command = (sys.executable, "-m", "benchmarks.noop")
    settings = {"CUTOUT_MODELS": model, "CUTOUT_WEB__PORT": "0"}
    with Server(model, models_dir, settings, command=command) as server:
        capacity, results = asyncio.run(_at_half_load(server, shot, seconds))
    with Server(model, models_dir, settings, command=(*command, "--bare")) as server:
        bare = asyncio.run(_paced(server, shot, capacity / 2, seconds))
    floor_s = [r.latency_s for r in bare if r.status == 200]
    steps = [_step_seconds(r.server_timing) for r in results if r.status == 200]
    waits = [r.latency_s for r in results if r.status == 200]
    overheads = [w - sum(s.get(name, 0.0) for name in PIXEL_STEPS) for w, s in zip(waits, steps, strict=True)]
    inside = [s.get("total", 0.0) - sum(s.get(name, 0.0) for name in PIXEL_STEPS) for s in steps]
    print(f"## Overhead of a request of {len(shot.upload)} bytes with a no-op network\n")
    print(f"At half of the capacity of {capacity:.0f} requests/s.\n")
    rows = [
        ("client waits", waits),
        ("client waits for a bare route", floor_s),
        ("in the server, without steps on pixels", inside),
    ]
    rows += [(name, [s[name] for s in steps if name in s]) for name in (*PIXEL_STEPS, "receive", "batch")]
    shown = [
        (name, *(milliseconds(percentile(values, percent)) for percent in (50, 99))) for name, values in rows
    ]
    print_table(("part", "p50", "p99"), shown)
    print_figures(
        [
            Figure("overhead, p50", 1e3 * percentile(overheads, 50), 0.8, " ms"),
            Figure("overhead, p99", 1e3 * percentile(overheads, 99), 3, " ms"),
            Figure(
                "overhead, p50, of a bare route", percentile(overheads, 50) / percentile(floor_s, 50), 2, " ×"
            ),
            Figure("requests that failed", len(results) - len(waits), 0),
        ]
    )


async def _at_half_load(server: Server, shot: Shot, seconds: float) -> tuple[float, list[Result]]:
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: shot, clients=4, seconds=1)
    at_once = await closed_loop(client, lambda _: shot, clients=8, seconds=seconds)
    capacity = rate_of(at_once, begin_s=0, end_s=seconds)
    await client.close()
    return capacity, await _paced(server, shot, capacity / 2, seconds)


async def _paced(server: Server, shot: Shot, rate: float, seconds: float) -> list[Result]:
    client = Client(server.host, server.port)
    results = await open_loop(client, lambda _: shot, rate=rate, seconds=2 * seconds)
    await client.close()
    return results


def measure_journey(model: str, models_dir: Path, seconds: float) -> None:
    """Print how much of what the cores allow becomes pictures over HTTP."""
    figures = []
    lags: list[Figure] = []
    with Server(model, models_dir) as server:
        for megapixels in (1, 12):
            before = server.metrics()
            for path in ("/v1/mask", "/v1/cutout"):
                shot = Shot(path, jpeg_photo(megapixels))
                rate, bound, cpu_s = asyncio.run(_against_cores(server, shot, max(seconds, megapixels)))
                name = f"{path}, {megapixels} MP: {rate:.2f} pictures/s, {1e3 * cpu_s:.0f} ms of a core each"
                figures.append(Figure(f"{name}, of the bound", 100 * rate / bound, 90, " %", is_floor=True))
            lags = lag_figures(before, server.metrics())
    print(f"## {model}, JPEG to PNG over HTTP, {usable_cores()} cores\n")
    print_figures(figures)
    print("While the 12-megapixel pictures were carried:\n")
    print_figures(lags)


async def _against_cores(server: Server, shot: Shot, seconds: float) -> tuple[float, float, float]:
    """Return pictures a second, what the cores would allow, and processor seconds of one request."""
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: shot, clients=1, seconds=1)
    before_s = server.cpu_s()
    serial = await closed_loop(client, lambda _: shot, clients=1, seconds=seconds)
    each_s = (server.cpu_s() - before_s) / len(serial)
    before_s, busy_s, started_s = server.cpu_s(), machine_busy_s(), time.monotonic()
    results = await closed_loop(client, lambda _: shot, clients=2 * usable_cores(), seconds=seconds)
    took_s = time.monotonic() - started_s
    elsewhere_s = (machine_busy_s() - busy_s) - (server.cpu_s() - before_s)
    await client.close()
    rate = sum(r.status == 200 for r in results) / took_s
    return rate, (usable_cores() - max(0.0, elsewhere_s) / took_s) / each_s, each_s


def _sleep_exactly(seconds: float) -> None:
    """Let time pass without the half millisecond that ``time.sleep`` sleeps too long."""
    until_s = time.perf_counter() + seconds
    time.sleep(max(0.0, seconds - 0.002))
    while time.perf_counter() < until_s:
        time.sleep(0)  # lets go of the interpreter


def _alternate(
    bare: Callable[[float], float], batched: Callable[[float], float], seconds: float
) -> tuple[list[float], list[float]]:
    """Measure both in turn, so that a change of the machine meets both."""
    rates: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        rates[0].append(bare(seconds / ROUNDS))
        rates[1].append(batched(seconds / ROUNDS))
    return rates


def _ratio(rates: list[float], others: list[float]) -> float:
    return 100 * statistics.median(one / other for one, other in zip(rates, others, strict=True))


def _rate(run: Callable[[], object], pictures: int, seconds: float) -> float:
    started_s, count = time.monotonic(), 0
    while time.monotonic() - started_s < seconds:
        run()
        count += pictures
    return count / (time.monotonic() - started_s)


def _through(batcher: Batcher, model: str, picture: object, seconds: float, *, waiting: int) -> float:
    """Return pictures per second with ``waiting`` of them always in the batcher."""
    under_way: deque[Ticket] = deque()
    clock = SystemClock()
    finished, started_s, ended_s = 0, clock.now_s(), clock.now_s()
    while under_way or ended_s - started_s < seconds:
        while len(under_way) < waiting and ended_s - started_s < seconds:
            under_way.append(batcher.submit(model, picture, deadline_s=started_s + 600))
        under_way.popleft().future.result()
        finished, ended_s = finished + 1, clock.now_s()
    return finished / (ended_s - started_s)


def _padded_jpeg(size: int) -> bytes:
    """Build a small JPEG that is ``size`` bytes long for its comments."""
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
    "journey": measure_journey,
}

if __name__ == "__main__":
    main()

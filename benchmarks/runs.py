"""Runs: what the queue and the batcher cost beside a network; parts of ``benchmarks.engine``."""

import os
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits, CostTable, Ticket
from app.engine.clock import SystemClock
from app.main import open_pipeline
from app.settings import Settings
from app.telemetry import Telemetry
from benchmarks.report import Figure, print_figures
from tests.fakes import RecordingObserver, SimulatedBackend, SimulatedRun

ALPHA_S, BETA_S, LARGEST = 0.005, 0.001, 32
ROUNDS = 5


def measure_batcher(_: str, __: Path, seconds: float) -> None:
    """Print how close the batcher comes to what its backend can do."""
    backend = ExactDevice(SimulatedBackend())
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


@dataclass(frozen=True, slots=True)
class ExactDevice:
    """A simulated network whose runs last just as long as they should, its own arithmetic included."""

    backend: SimulatedBackend

    def prepare_run(self, model: str, batch: NetworkInput) -> "ExactRun":
        """Return a run over ``batch``."""
        return ExactRun(self.backend.prepare_run(model, batch), ALPHA_S + BETA_S * len(batch))


@dataclass(frozen=True, slots=True)
class ExactRun:
    """A run that lasts ``seconds``; ``time.sleep`` alone sleeps up to a millisecond too long."""

    run: SimulatedRun
    seconds: float

    def result(self) -> SaliencyMap:
        """Run."""
        until_s = time.perf_counter() + self.seconds
        saliency = self.run.result()
        time.sleep(max(0.0, until_s - time.perf_counter() - 0.002))
        while time.perf_counter() < until_s:
            time.sleep(0)  # lets go of the interpreter
        return saliency

    def abort(self) -> None:
        """End it soon."""
        self.run.abort()


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

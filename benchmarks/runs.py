"""Runs: the overhead of queue and batcher over a bare network; parts of ``benchmarks.engine``."""

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
from app.pipeline.build import open_pipeline
from app.settings import Settings
from app.telemetry import Telemetry
from benchmarks.report import Figure, print_figures
from tests.fakes import RecordingObserver, SimulatedBackend, SimulatedRun

ALPHA_S, BETA_S, MAX_BATCH = 0.005, 0.001, 32
ROUNDS = 5


def measure_batcher(_: str, __: Path, seconds: float) -> None:
    """Print the rate of the batcher, as a share of its backend's capacity."""
    backend = ExactDevice(SimulatedBackend())
    batch = np.zeros((MAX_BATCH, 8, 8, 3), np.uint8)
    sizes = (1, 2, 4, 8, 16, MAX_BATCH)
    costs = CostTable({"simulated": {size: ALPHA_S + BETA_S * size for size in sizes}})
    limits = BatchLimits(MAX_BATCH, 0.0, 8 * MAX_BATCH)
    batcher = Batcher(backend, limits, SystemClock(), RecordingObserver(), costs)
    batcher.start()
    bare, batched = _alternate(
        lambda s: _rate(lambda: backend.prepare_run("simulated", batch).result(), MAX_BATCH, s),
        lambda s: _batched_rate(batcher, "simulated", batch[0], s, waiting=4 * MAX_BATCH),
        seconds,
    )
    batcher.stop()
    theory = MAX_BATCH / (ALPHA_S + MAX_BATCH * BETA_S)
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
    """Print the rate of the engine, as a share of the session's rate alone."""
    pipeline = open_pipeline(
        Settings(models=(model,), models_dir=models_dir, device=os.environ.get("CUTOUT_DEVICE", "cpu")),
        Telemetry(),
    )
    session = pipeline.models.sessions[model]
    side = session.manifest.input_size_px
    pictures = np.random.default_rng(0).integers(0, 256, (MAX_BATCH, side, side, 3), np.uint8)
    max_size = MAX_BATCH if session.provider.startswith("CUDA") else 1
    figures = []
    for size in sorted({1, max_size}):
        limits = BatchLimits(size, 0.0, 8 * MAX_BATCH)
        batcher = Batcher(pipeline.models, limits, SystemClock(), RecordingObserver())
        batcher.start()
        bare, batched = _alternate(
            lambda s, size=size: _rate(lambda: session.prepare_run(pictures[:size]).result(), size, s),
            lambda s, size=size, batcher=batcher: _batched_rate(
                batcher, model, pictures[0], s, waiting=2 * size
            ),
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
    """A simulated network whose runs have exact durations, including the simulation's own computations."""

    backend: SimulatedBackend

    def prepare_run(self, model: str, batch: NetworkInput) -> "ExactRun":
        """Return a run over ``batch``."""
        return ExactRun(self.backend.prepare_run(model, batch), ALPHA_S + BETA_S * len(batch))


@dataclass(frozen=True, slots=True)
class ExactRun:
    """A run that lasts exactly ``seconds``; ``time.sleep`` alone is up to a millisecond too long."""

    run: SimulatedRun
    seconds: float

    def result(self) -> SaliencyMap:
        """Run, and wait until the duration has passed."""
        until_s = time.perf_counter() + self.seconds
        saliency = self.run.result()
        time.sleep(max(0.0, until_s - time.perf_counter() - 0.002))
        while time.perf_counter() < until_s:
            time.sleep(0)  # releases the interpreter lock
        return saliency

    def abort(self) -> None:
        """Abort the run."""
        self.run.abort()


def _alternate(
    bare: Callable[[float], float], batched: Callable[[float], float], seconds: float
) -> tuple[list[float], list[float]]:
    """Measure both in turn, so that changes of the machine affect both."""
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


def _batched_rate(batcher: Batcher, model: str, picture: object, seconds: float, *, waiting: int) -> float:
    """Return pictures per second with ``waiting`` pictures always in the batcher."""
    in_flight: deque[Ticket] = deque()
    clock = SystemClock()
    finished, started_s, ended_s = 0, clock.now_s(), clock.now_s()
    while in_flight or ended_s - started_s < seconds:
        while len(in_flight) < waiting and ended_s - started_s < seconds:
            in_flight.append(batcher.submit(model, picture, deadline_s=started_s + 600))
        in_flight.popleft().future.result()
        finished, ended_s = finished + 1, clock.now_s()
    return finished / (ended_s - started_s)

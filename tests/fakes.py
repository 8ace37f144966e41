"""Fakes: small working implementations of the engine's interfaces, for tests that do not wait.

Each passes the same contract test as the implementation it replaces (``tests/test_fakes.py``).
"""

import asyncio
import itertools
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.cli.removal.values import Problem, Processed, Rejected, RunEnded
from app.engine.models.manifest import Manifest, WeightsOrigin
from app.engine.models.precision import PrecisionChoice, as_set
from app.errors import ModelUnavailable


class ManualClock:
    """A clock that advances only when a test calls ``advance``."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """Return the time that was set."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Advance the clock by ``seconds``."""
        if seconds < 0:
            raise ValueError("A clock never runs backwards.")
        self._now_s += seconds


class SteppingClock:
    """A clock that advances by itself after each reading, by the next of some steps; they are repeated.

    What the code under test does between two readings takes as long as the step between them.
    """

    def __init__(self, *steps_s: float) -> None:
        self._now_s = 0.0
        self._steps_s = itertools.cycle(steps_s)

    def now_s(self) -> float:
        """Return the time, and advance."""
        now_s = self._now_s
        self._now_s += next(self._steps_s)
        return now_s


@dataclass
class SimulatedBackend:
    """A network whose saliency is the picture's mean brightness, at the picture's size.

    A picture is identified by the value of its first byte, its mark.

    Attributes:
        alpha_s: Seconds of a run, without its pictures.
        beta_s: Additional seconds per picture in the run.
        jitter: Relative random variation of that time, from a fixed seed.
        fail_at: Marks of pictures that make a run raise.
        poison_at: Marks of pictures whose own saliency is not finite.
        hang_at: Marks of pictures that make a run last ``hang_s`` longer.
        hang_s: Seconds added to a run that hangs.
        spend: Makes time pass: ``ManualClock.advance`` or ``time.sleep``.
        release: An event that every run waits for, unless it is aborted.
        on_run: Called in the middle of each run.
    """

    alpha_s: float = 0.0
    beta_s: float = 0.0
    jitter: float = 0.0
    fail_at: frozenset[int] = frozenset()
    poison_at: frozenset[int] = frozenset()
    hang_at: frozenset[int] = frozenset()
    hang_s: float = 60.0
    spend: Callable[[float], None] = lambda _: None
    release: threading.Event | None = None
    on_run: Callable[["SimulatedRun"], None] = lambda _: None
    batches: list[tuple[str, list[int]]] = field(default_factory=list)
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    yielding: set[str] = field(default_factory=set)

    def prepare_run(self, model: str, batch: NetworkInput) -> "SimulatedRun":
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        return SimulatedRun(self, model, batch)

    def yield_to_others(self, model: str) -> None:
        """Record that the runs of a model have a lower priority."""
        self.yielding.add(model)


@dataclass
class SimulatedRun:
    """One run of a ``SimulatedBackend``."""

    backend: SimulatedBackend
    model: str
    batch: NetworkInput
    is_aborted: threading.Event = field(default_factory=threading.Event)

    @property
    def marks(self) -> list[int]:
        """The marks of the pictures in the run, padding included."""
        return [int(item[0, 0, 0]) for item in self.batch]

    def result(self) -> SaliencyMap:
        """Return one constant map per picture."""
        backend, marks = self.backend, self.marks
        backend.batches.append((self.model, marks))
        backend.started.release()
        seconds = backend.alpha_s + backend.beta_s * len(marks)
        backend.spend(seconds * (1 + backend.jitter * backend.chance.uniform(-1, 1)))
        backend.on_run(self)
        release = backend.release
        while release is not None and not release.wait(0.001) and not self.is_aborted.is_set():
            pass
        if backend.hang_at.intersection(marks):
            backend.spend(backend.hang_s)
        if self.is_aborted.is_set():
            raise RuntimeError("simulated abort")
        if backend.fail_at.intersection(marks):
            raise RuntimeError("simulated failure")
        means = self.batch.reshape(len(marks), -1).mean(axis=1, dtype=np.float32) / np.float32(255)
        saliency = np.broadcast_to(means[:, None, None], self.batch.shape[:3]).astype(np.float32)
        for index, mark in enumerate(marks):
            if mark in backend.poison_at:
                saliency[index] = np.nan
        return saliency

    def abort(self) -> None:
        """Make ``result`` raise soon."""
        self.is_aborted.set()


IN_FLOAT32 = as_set("float32")


@dataclass(frozen=True)
class SimulatedSession:
    """A model in memory that runs on a ``SimulatedBackend``."""

    manifest: Manifest
    provider: str = "SimulatedProvider"
    choice: PrecisionChoice = IN_FLOAT32
    backend: SimulatedBackend = field(default_factory=SimulatedBackend)

    def prepare_run(self, batch: NetworkInput) -> SimulatedRun:
        """Return a run over ``batch``."""
        return self.backend.prepare_run(self.manifest.name, batch)

    def yield_to_others(self) -> None:
        """Record that its runs have a lower priority."""
        self.backend.yield_to_others(self.manifest.name)


@dataclass(frozen=True)
class SimulatedLoaded:
    """A model loaded by a ``SimulatedSource``."""

    session: SimulatedSession
    seconds: Mapping[int, float]
    warmup_s: Mapping[int, float]
    memory_bytes: Mapping[int, int]


@dataclass
class SimulatedSource:
    """A folder of models; those in ``damaged`` fail verification. ``on_load`` is called during each load.

    ``memory_bytes`` is what a model takes, by name; 0 if it has none.
    """

    names: frozenset[str]
    damaged: frozenset[str] = frozenset()
    on_load: Callable[[str], None] = lambda _: None
    loads: list[str] = field(default_factory=list)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)

    def available(self) -> frozenset[str]:
        """Return the names of all models, damaged or not."""
        return self.names

    def load(self, name: str) -> SimulatedLoaded:
        """Return a loaded model, or raise ``ModelUnavailable``."""
        self.loads.append(name)
        self.on_load(name)
        if name in self.damaged or name not in self.names:
            raise ModelUnavailable(name, f"{name} is not the file its manifest names")
        origin = WeightsOrigin(source="nowhere", sha256="0" * 64, license="CC0-1.0", authors="none")
        manifest = Manifest(
            name=name,
            architecture="simulated",
            sha256="0" * 64,
            size_bytes=0,
            opset=18,
            input_size_px=4,
            output="mean brightness",
            precision="float32",
            parameters=0,
            weights=origin,
            quality={},
        )
        return SimulatedLoaded(
            SimulatedSession(manifest), {1: 0.001}, {1: 0.002}, {1: self.memory_bytes.get(name, 0)}
        )


@dataclass
class RecordingObserver:
    """Records the batches that were sent and ran, and the models in memory."""

    sent: list[tuple[str, int, str]] = field(default_factory=list)
    ran: list[tuple[str, int, int]] = field(default_factory=list)
    present: set[str] = field(default_factory=set)

    def model_loaded(
        self,
        name: str,
        provider: str,
        *,
        choice: PrecisionChoice,
        load_s: float,
        warmup_s: Mapping[int, float],
    ) -> None:
        """Record that a model was loaded."""
        self.present.add(name)

    def model_unloaded(self, name: str, provider: str) -> None:
        """Record that a model was unloaded."""
        self.present.remove(name)

    def batch_sent(self, model: str, *, size: int, reason: str) -> None:
        """Record that a run starts."""
        self.sent.append((model, size, reason))

    def batch_ran(self, model: str, *, size: int, pictures: int, duration_s: float) -> None:
        """Record that a run completed."""
        self.ran.append((model, pictures, size - pictures))


@dataclass
class SimulatedProcessor:
    """A processor of ``cutout remove`` whose result is the upload itself, with a text in front.

    The uploads ``reject``, ``crash`` and ``end`` fail, raise a bug, and end the run.

    Attributes:
        in_flight: How many pictures it wants at a time.
        on_start: Called with each upload.
        peak_bytes: The most bytes that were in flight together.
    """

    in_flight: int = 2
    on_start: Callable[[bytes], object] = bool
    peak_bytes: int = 0
    _bytes: int = 0

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def process(self, upload: bytes) -> Processed:
        """Return the result after the event loop has served all other tasks a few times."""
        self.on_start(upload)
        self._bytes += len(upload)
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        for _ in range(5):
            await asyncio.sleep(0.001)
        self._bytes -= len(upload)
        if upload == b"reject":
            raise Rejected(Problem("simulated", "Simulated", "simulated"))
        if upload == b"crash":
            raise RuntimeError("simulated")
        if upload == b"end":
            raise RunEnded("simulated end")
        return Processed(b"result of " + upload, "image/png", "simulated", "simulated", "float32", "ok")


@dataclass
class CountingWriter:
    """A writer of TensorBoard's events that keeps them: value by step, by tag."""

    scalars: dict[str, dict[int, float]] = field(default_factory=dict)
    flushes: int = 0

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Keep one figure."""
        self.scalars.setdefault(tag, {})[step] = value

    def flush(self) -> None:
        """Count the call."""
        self.flushes += 1

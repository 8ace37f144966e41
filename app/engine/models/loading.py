"""Loading: turns a model's folder into a verified, warm session, and measures its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.arrays import NetworkInput
from app.engine.capacity.memory import give_back_freed_memory, resident_bytes
from app.engine.clock import Clock
from app.engine.models.device import CUDA, Device, Probe
from app.engine.models.manifest import FLOAT32, MANIFEST_FILE, Manifest, read_manifest, read_model
from app.engine.models.precision import (
    AUTO,
    DIFFERENCE,
    Photographs,
    PrecisionChoice,
    RequestedPrecision,
    as_set,
    check_precision,
    decide,
    measure,
    without,
)
from app.engine.models.session import OnnxSession, open_session
from app.errors import ModelUnavailable

GPU_BATCH = 32
"""Default maximum batch on CUDA; on a CPU it is 1 (``docs/adr/0004``)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session, with the seconds of one run and of the warm-up, and its memory, by batch size."""

    session: OnnxSession
    seconds: Mapping[int, float]
    warmup_s: Mapping[int, float]
    memory_bytes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads models from a folder that holds one folder per model.

    Attributes:
        models_dir: The folder.
        device: The device in the settings.
        probe: The providers that this machine can use.
        threads: The number of cores used inside one run on a CPU; 0 uses all.
        max_batch: The maximum batch size; with ``None`` the active provider decides.
        clock: Times the runs.
        precision: The precision in the settings.
        photographs: What ``auto`` compares precisions with; other settings need none.
    """

    models_dir: Path
    device: Device
    probe: Probe
    threads: int
    max_batch: int | None
    clock: Clock
    precision: RequestedPrecision = "float32"
    photographs: Photographs | None = None
    # By the sha256 of all graphs: a model that is loaded again keeps its precision, without a comparison.
    _choices: dict[tuple[str, ...], PrecisionChoice] = field(default_factory=dict)

    def available(self) -> frozenset[str]:
        """Return the names of all models in the folder; nothing is ever downloaded."""
        return frozenset(path.parent.name for path in self.models_dir.glob(f"*/{MANIFEST_FILE}"))

    def load(self, name: str) -> Loaded:
        """Read, verify, load and warm one model; takes seconds.

        Raises:
            ModelUnavailable: Its files are missing or do not match the manifest, or it lacks the precision of
                the settings.
            ProviderUnavailable: CUDA was requested and is not really active.
        """
        folder = self.models_dir / name
        before_bytes = resident_bytes()
        session = self._open_chosen(folder, read_manifest(folder))
        # Parsing a model takes as much memory again as the model itself, and a graph was perhaps not chosen.
        give_back_freed_memory()
        seconds: dict[int, float] = {}
        warmup_s: dict[int, float] = {}
        memory_bytes: dict[int, int] = {}
        for size in batch_sizes(self._largest_batch_of(session)):
            seconds[size], warmup_s[size] = session.warm(size, self.clock)
            memory_bytes[size] = max(session.size_bytes, _grown_since(before_bytes))
        return Loaded(session, seconds, warmup_s, memory_bytes)

    def largest_batch(self, provider: str) -> int:
        """Return the maximum batch size on a provider, of models that have no smaller one."""
        return self.max_batch or (GPU_BATCH if provider == CUDA else 1)

    def _largest_batch_of(self, session: OnnxSession) -> int:
        largest = self.largest_batch(session.provider)
        return min(largest, session.manifest.max_batch or largest)

    def _open_chosen(self, folder: Path, manifest: Manifest) -> OnnxSession:
        """Open a model in the precision of the settings, or in the better one on this machine."""
        check_precision(self.precision, manifest)
        if self.precision != AUTO:
            return self._open(folder, manifest, as_set(self.precision))
        key = (manifest.sha256, *(variant.sha256 for variant in manifest.precisions.values()))
        if key in self._choices:
            return self._open(folder, manifest, self._choices[key])
        float32 = self._open(folder, manifest, PrecisionChoice(FLOAT32, AUTO, ""))
        candidate = "fp16" if float32.provider == CUDA else "int8"
        variant = manifest.precisions.get(candidate)
        if variant is None:
            return replace(float32, choice=without(candidate))
        if DIFFERENCE not in variant.quality:
            raise ModelUnavailable(
                manifest.name, f"{folder}: the manifest has no {DIFFERENCE} of {candidate}"
            )
        other = self._open(folder, manifest, PrecisionChoice(candidate, AUTO, ""))
        measured = measure(float32, other, self._batches(float32), self.clock)
        choice = self._choices[key] = decide(candidate, variant, measured)
        return replace(other if choice.precision == candidate else float32, choice=choice)

    def _open(self, folder: Path, manifest: Manifest, choice: PrecisionChoice) -> OnnxSession:
        return open_session(
            read_model(folder, manifest, choice.precision),
            manifest,
            choice,
            device=self.device,
            probe=self.probe,
            threads=self.threads,
        )

    def _batches(self, session: OnnxSession) -> list[NetworkInput]:
        """Return each photograph as a batch of the largest size, since that is what a busy device runs."""
        size = self._largest_batch_of(session)
        assert self.photographs is not None  # noqa: S101 - the precision is auto
        photographs = self.photographs(session.manifest.input_size_px)
        return [np.repeat(photograph[None], size, axis=0) for photograph in photographs]


def _grown_since(before_bytes: int) -> int:
    """Return by how much memory the process has grown; 0 if that is not known."""
    return max(0, resident_bytes() - before_bytes)


def batch_sizes(largest: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … up to ``largest``: the batch sizes a model is warmed for."""
    sizes = [1]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)

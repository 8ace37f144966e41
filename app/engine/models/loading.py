"""Loading: turns a model's folder into a verified, warm session, and measures its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.engine.capacity.memory import give_back_freed_memory
from app.engine.clock import Clock
from app.engine.models.device import CUDA, Device, Probe
from app.engine.models.manifest import MANIFEST_FILE, read_manifest, read_model
from app.engine.models.session import OnnxSession, open_session

GPU_BATCH = 32
"""Default maximum batch on CUDA; on a CPU it is 1 (``docs/adr/0004``)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session, with the seconds of one run and of the warm-up by batch size."""

    session: OnnxSession
    seconds: Mapping[int, float]
    warmup_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads models from a folder that holds one folder per model.

    ``threads`` is the number of cores used inside one run on a CPU, 0 uses all; with ``max_batch`` of
    ``None`` the active provider decides.
    """

    models_dir: Path
    device: Device
    probe: Probe
    threads: int
    max_batch: int | None
    clock: Clock

    def available(self) -> frozenset[str]:
        """Return the names of all models in the folder; nothing is ever downloaded."""
        return frozenset(path.parent.name for path in self.models_dir.glob(f"*/{MANIFEST_FILE}"))

    def load(self, name: str) -> Loaded:
        """Read, verify, load and warm one model; takes seconds.

        Raises:
            ModelUnavailable: Its files are missing or do not match the manifest.
            ProviderUnavailable: CUDA was requested and is not really active.
        """
        folder = self.models_dir / name
        manifest = read_manifest(folder)
        session = open_session(
            read_model(folder, manifest), manifest, device=self.device, probe=self.probe, threads=self.threads
        )
        give_back_freed_memory()  # parsing a model takes as much memory again as the model itself
        return Loaded(session, *session.warm(batch_sizes(self.largest_batch(session.provider)), self.clock))

    def largest_batch(self, provider: str) -> int:
        """Return the maximum batch size on a provider."""
        return self.max_batch or (GPU_BATCH if provider == CUDA else 1)


def batch_sizes(largest: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … up to ``largest``: the batch sizes a model is warmed for."""
    sizes = [1]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)

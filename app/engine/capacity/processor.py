"""Processor: how many cores this process may use, by its affinity and by the CPU quota of its cgroup."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from app.engine.capacity.cgroup import Limit, cpu_quota


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor time that this process may use.

    Attributes:
        cores: The cores that its threads may run on.
        quota: The cores whose time it may use, if its cgroup or one above limits them.
    """

    cores: int
    quota: Limit | None = None

    @property
    def capacity(self) -> float:
        """The processor time per second, in cores."""
        return self.cores if self.quota is None else min(float(self.cores), self.quota.value)

    @property
    def threads(self) -> int:
        """How many threads use that time, at least one.

        More threads use up a period's quota sooner, and then all of them wait for the next period. A quota of
        1.5 cores rounds up: one thread would leave a third of it unused.
        """
        return max(1, math.ceil(self.capacity))


def usable_processor(root: Path = Path("/")) -> Processor:
    """Return what this process may use; ``root`` is that of the cgroup's paths."""
    return Processor(_cores(), cpu_quota(root))


def network_threads(setting: int, processor: Processor) -> int:
    """Return the threads of one run on a CPU: those of the setting, or as many as the processor allows.

    0 leaves the choice to ONNX Runtime, which takes all cores of the machine: it knows neither affinity nor
    quota.
    """
    is_whole_machine = processor.threads >= (os.cpu_count() or 1)
    return setting or (0 if is_whole_machine else processor.threads)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

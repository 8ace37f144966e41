"""Backend: the interfaces through which the batcher runs networks and reports the runs."""

from typing import Protocol

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.planning import Reason


class Run(Protocol):
    """One run of the network, ready to start."""

    def result(self) -> SaliencyMap:
        """Run, and return the raw sigmoid saliency float32 (N, S, S)."""
        ...

    def abort(self) -> None:
        """Make ``result`` raise soon, from another thread, or at once if it has not started."""
        ...


class Backend(Protocol):
    """Runs networks in batches."""

    def prepare_run(self, model: str, batch: NetworkInput) -> Run:
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        ...

    def yield_to_others(self, model: str) -> None:
        """Lower the priority of a model's runs, if the operating system can do that."""
        ...


class BatchObserver(Protocol):
    """Receives the batcher's events."""

    def batch_sent(self, model: str, *, size: int, reason: Reason) -> None:
        """Record that a run starts, at batch size ``size``."""
        ...

    def batch_ran(self, model: str, *, size: int, pictures: int, duration_s: float) -> None:
        """Record that a run completed."""
        ...

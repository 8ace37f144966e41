"""Backend: what the batcher needs of whatever runs networks, and of whoever counts the runs."""

from typing import Protocol

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.planning import Reason


class Run(Protocol):
    """One run of the network, ready to begin."""

    def result(self) -> SaliencyMap:
        """Run, and return the raw sigmoid saliency float32 (N, S, S)."""
        ...

    def abort(self) -> None:
        """Make ``result`` raise soon, from another thread, or at once if it has not begun."""
        ...


class Backend(Protocol):
    """Something that runs networks."""

    def prepare_run(self, model: str, batch: NetworkInput) -> Run:
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        ...


class BatchObserver(Protocol):
    """Someone who wants to know what ran."""

    def batch_sent(self, model: str, *, size: int, reason: Reason) -> None:
        """Take note of a run that begins, at batch size ``size``."""
        ...

    def batch_ran(self, model: str, *, size: int, pictures: int, duration_s: float) -> None:
        """Take note of a run that came to its end."""
        ...

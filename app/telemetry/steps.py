"""Steps: how long each step of one request took."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.engine.clock import Clock


def nothing() -> None:
    """Check nothing."""


class StepTimes:
    """How long each step of one request took, in seconds, in the order they ended.

    ``current`` is the last step that was begun: where a request stands, or where it ended. ``check`` is
    called as each step begins, and may be called within it; it raises where the step would be in vain.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self.current = "receive"
        self.check: Callable[[], None] = nothing

    def now_s(self) -> float:
        """Return the instant on the clock that the steps are timed by."""
        return self._clock.now_s()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as step ``name``."""
        self.check()
        self.current = name
        started_s = self._clock.now_s()
        try:
            yield
        finally:
            self.add(name, self._clock.now_s() - started_s)

    def add(self, name: str, duration_s: float) -> None:
        """Add a duration that was measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + duration_s

    def server_timing(self) -> str:
        """Return the value of the ``Server-Timing`` header, durations in milliseconds."""
        return ", ".join(f"{name};dur={duration * 1e3:.2f}" for name, duration in self.seconds.items())

"""Steps: measures the duration of each step of one request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.engine.clock import Clock


class StepTimes:
    """The duration of each step of one request, in seconds, in the order in which they ended.

    ``current`` is the last step that started: the step a request is in, or ended in. ``check`` is called at
    the start of each step and during long ones; an exception that it raises stops the work.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self.current = "receive"
        self.check: Callable[[], None] = nothing

    def now_s(self) -> float:
        """Return the time of the clock that times the steps."""
        return self._clock.now_s()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as step ``name``."""
        self.current = name
        self.check()
        started_s = self._clock.now_s()
        try:
            yield
        finally:
            self.add(name, self._clock.now_s() - started_s)

    def add(self, name: str, duration_s: float) -> None:
        """Add a duration measured by the caller."""
        self.seconds[name] = self.seconds.get(name, 0.0) + duration_s

    def server_timing(self) -> str:
        """Return the value of the ``Server-Timing`` header, durations in milliseconds."""
        return ", ".join(f"{name};dur={duration * 1e3:.2f}" for name, duration in self.seconds.items())


def nothing() -> None:
    """Let a request continue: the default ``check``."""

"""Clock: the only source of time, so that tests of schedules need not wait."""

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic source of time."""

    def now_s(self) -> float:
        """Return seconds since an arbitrary instant; never runs backwards."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

"""Clock: the only source of time, so that every schedule can be tested without waiting."""

import time
from typing import Protocol


class Clock(Protocol):
    """Something that tells the time."""

    def now_s(self) -> float:
        """Return seconds since an arbitrary instant; never runs backwards."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

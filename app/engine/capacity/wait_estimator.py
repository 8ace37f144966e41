"""Forecast: how long a picture that arrives now would take, from what was measured so far.

A request that cannot be finished before its deadline is refused at once instead of late.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SMOOTHING = 0.1
"""Weight of the newest request in the running means."""

MARGIN = 1.25
"""What a forecast is multiplied by: under load everything slows down, and a picture that was let in to
expire costs as much as one that is answered."""


@dataclass(slots=True)
class LongRun:
    """A request of many pictures; ``left`` is how many of them are still to be run."""

    left: int


@dataclass(slots=True)
class WaitEstimator:
    """Counts what is on its way to the network, and learns what the other steps cost a pixel.

    ``counting`` and ``long_run`` may be left on another thread than they were entered on; the rest is the
    event loop's.

    Attributes:
        workers: How many threads share the other steps.
        ahead: How many runs are waited for now. A request of many pictures counts with those in the queue:
            its others take turns with whoever arrives, so nobody waits for them.
        seconds_per_pixel: What the other steps cost.
    """

    workers: int
    queued_runs: int = 0
    seconds_per_pixel: float = 0.0
    _long_runs: dict[int, LongRun] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def counting(self, runs: int = 1) -> Iterator[None]:
        """Count so many more runs that the network has ahead, for as long as the block lasts."""
        with self._lock:
            self.queued_runs += runs
        try:
            yield
        finally:
            with self._lock:
                self.queued_runs -= runs

    @contextmanager
    def long_run(self, pictures: int) -> Iterator[LongRun]:
        """Count a request of many pictures, for as long as the block lasts."""
        run = LongRun(pictures)
        with self._lock:
            self._long_runs[id(run)] = run
        try:
            yield run
        finally:
            with self._lock:
                del self._long_runs[id(run)]

    def turns_of_others(self, pictures: int) -> int:
        """Return how many runs of other long requests come in between ``pictures`` runs that take turns."""
        with self._lock:
            return sum(min(pictures, run.left) for run in self._long_runs.values())

    def total_s(self, *, per_picture_s: float, pixels: int, pixels_in_flight: int, runs: int = 1) -> float:
        """Return the seconds until a picture of ``pixels`` that arrives now would be answered.

        Args:
            per_picture_s: Device time of one picture.
            pixels: Of the picture itself.
            pixels_in_flight: Of all pictures that are being worked on, this one not among them.
            runs: How often the network will see the picture; 0 where it need not.
        """
        device_s = (self.queued_runs + runs) * per_picture_s if runs > 0 else 0.0
        others_s = (pixels_in_flight / self.workers + pixels) * self.seconds_per_pixel
        return MARGIN * (device_s + others_s)

    def learn(self, *, pixels: int, seconds: float) -> None:
        """Take into account what the steps outside the network took for one picture."""
        # A small picture's time is mostly not its pixels'. Counted as a megapixel it makes the forecast
        # too hopeful at worst; too gloomy, it would refuse large pictures and never learn better.
        measured = seconds / max(pixels, 1_000_000)
        weight = SMOOTHING if self.seconds_per_pixel else 1.0
        self.seconds_per_pixel += weight * (measured - self.seconds_per_pixel)


def retry_after_s(total_s: float, allowed_s: float) -> int:
    """Return whole seconds after which a request refused now would fit into ``allowed_s``; 1 to 60."""
    return min(60, max(1, math.ceil(total_s - allowed_s)))

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
class Forecast:
    """Counts what is on its way to the network, and learns what the other steps cost a pixel.

    ``on_its_way`` may be left on another thread than it was entered on; the rest is the event loop's.
    ``workers`` is how many threads share the other steps.
    """

    workers: int
    ahead: int = 0
    seconds_per_pixel: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def on_its_way(self, runs: int = 1) -> Iterator[None]:
        """Count so many more runs that the network has ahead, for as long as the block lasts."""
        with self._lock:
            self.ahead += runs
        try:
            yield
        finally:
            with self._lock:
                self.ahead -= runs

    def total_s(self, *, per_picture_s: float, pixels: int, pixels_in_flight: int, runs: int = 1) -> float:
        """Return the seconds until a picture of ``pixels`` that arrives now would be answered.

        Args:
            per_picture_s: Device time of one picture.
            pixels: Of the picture itself.
            pixels_in_flight: Of all pictures that are being worked on, this one not among them.
            runs: How often the network will see the picture.
        """
        device_s = (self.ahead + runs) * per_picture_s
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

"""Wait estimator: predicts from measurements how long a picture that arrives now will take.

A request that cannot finish before its deadline is refused at once instead of after the deadline.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SMOOTHING = 0.1
"""Weight of the newest request in the moving average."""

MARGIN = 1.25
"""Factor on every estimate: under load everything slows down, and a request that is admitted and then
expires costs as much as one that succeeds."""


@dataclass(slots=True)
class LongRun:
    """A request of many pictures; ``left`` is the number of them that have not run yet."""

    left: int


@dataclass(slots=True)
class WaitEstimator:
    """Counts the runs queued for the network, and learns the cost per pixel of the other steps.

    ``counting`` and ``long_run`` may be exited on another thread than they were entered on; all other methods
    are called on the event loop only.

    Attributes:
        workers: The number of threads that share the other steps.
        queued: The number of runs queued or in progress, by model. A request of many pictures counts only
            those it has queued: the others take turns with new arrivals, which do not wait for them.
        seconds_per_pixel: The cost of the other steps.
        usual_px: The moving average of the pixels of recent pictures, whether admitted or refused.
        usual_px_per_byte: Likewise of their pixels per byte of the upload.
    """

    workers: int
    queued: dict[str, int] = field(default_factory=dict)
    seconds_per_pixel: float = 0.0
    usual_px: float = 0.0
    usual_px_per_byte: float = 0.0
    _long_runs: dict[int, LongRun] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def counting(self, model: str, runs: int = 1) -> Iterator[None]:
        """Count ``runs`` more queued runs of a model until the end of the block."""
        with self._lock:
            self.queued[model] = self.queued.get(model, 0) + runs
        try:
            yield
        finally:
            with self._lock:
                self.queued[model] -= runs

    @property
    def queued_runs(self) -> int:
        """The number of runs queued or in progress, of all models."""
        with self._lock:
            return sum(self.queued.values())

    def queued_s(self, run_s: Callable[[str], float]) -> float:
        """Return the device time of the queued runs, each of which takes ``run_s`` of its model."""
        with self._lock:
            return sum(runs * run_s(model) for model, runs in self.queued.items())

    @contextmanager
    def long_run(self, pictures: int) -> Iterator[LongRun]:
        """Count a request of many pictures until the end of the block."""
        run = LongRun(pictures)
        with self._lock:
            self._long_runs[id(run)] = run
        try:
            yield run
        finally:
            with self._lock:
                del self._long_runs[id(run)]

    def turns_of_others(self, pictures: int) -> int:
        """Return the number of runs of other long requests between ``pictures`` runs that take turns."""
        with self._lock:
            return sum(min(pictures, run.left) for run in self._long_runs.values())

    def total_s(self, *, device_s: float, pixels: float, pixels_in_flight: int) -> float:
        """Return the estimated seconds until the result of a picture of ``pixels`` that arrives now.

        Args:
            device_s: Time until the network has run for this picture; 0 if it needs no run.
            pixels: Pixels of the picture itself.
            pixels_in_flight: Pixels of all other pictures in flight.
        """
        others_s = (pixels_in_flight / self.workers + pixels) * self.seconds_per_pixel
        return MARGIN * (device_s + others_s)

    def likely_px(self, upload_bytes: int) -> float:
        """Return the likely pixels of an unread upload: the usual number, or fewer if it is short."""
        return min(self.usual_px, self.usual_px_per_byte * upload_bytes)

    def learn_size(self, pixels: int, *, upload_bytes: int) -> None:
        """Update the usual sizes with those of a picture that has arrived."""
        weight = SMOOTHING if self.usual_px else 1.0
        self.usual_px += weight * (pixels - self.usual_px)
        self.usual_px_per_byte += weight * (pixels / max(1, upload_bytes) - self.usual_px_per_byte)

    def learn(self, *, pixels: int, seconds: float) -> None:
        """Update the cost per pixel with the time that the steps outside the network took for one picture."""
        # A small picture's time is mostly overhead. Counted as a megapixel, it makes the estimate at worst
        # too low; an estimate that is too high would refuse large pictures and never be corrected.
        measured = seconds / max(pixels, 1_000_000)
        weight = SMOOTHING if self.seconds_per_pixel else 1.0
        self.seconds_per_pixel += weight * (measured - self.seconds_per_pixel)


def retry_after_s(total_s: float, allowed_s: float) -> int:
    """Return the whole seconds, 1 to 60, after which a request refused now would fit into ``allowed_s``."""
    return min(60, max(1, math.ceil(total_s - allowed_s)))

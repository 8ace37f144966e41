"""Saturation: computes how close the service is to its capacity, as a single number to scale by.

    utilisation of the busiest step × (1 + refused / accepted), over the last few seconds

A bounded queue hides demand: once it is full, it looks the same at twice and at ten times the load.
Refused requests are part of the demand, so they count too, and the number grows with demand beyond 1.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

WINDOW_S = 15.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Cumulative counts at an instant: busy seconds by step, requests accepted and refused."""

    at_s: float
    busy_s: Mapping[str, float]
    accepted: float
    refused: float


class Saturation:
    """The ratio over a sliding window of samples."""

    def __init__(self, capacity: Mapping[str, float], *, window_s: float = WINDOW_S) -> None:
        """Set the capacity of each step, in busy seconds per second: its number of workers."""
        self._capacity = dict(capacity)
        self._window_s = window_s
        self._samples: deque[Sample] = deque()

    def add(self, sample: Sample) -> None:
        """Add the newest sample, and drop those older than the window."""
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at_s <= sample.at_s - self._window_s:
            self._samples.popleft()

    def utilisation(self) -> dict[str, float]:
        """Return the busy share of each step's workers, in [0, 1] except for rounding."""
        if len(self._samples) < 2:
            return dict.fromkeys(self._capacity, 0.0)
        first, last = self._samples[0], self._samples[-1]
        seconds = max(last.at_s - first.at_s, 1e-9)
        return {
            step: (last.busy_s[step] - first.busy_s[step]) / seconds / workers
            for step, workers in self._capacity.items()
        }

    def ratio(self) -> float:
        """Return 0 for an idle service, 1 for one at its capacity, more for one that refuses requests."""
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        refused = last.refused - first.refused
        accepted = max(1.0, last.accepted - first.accepted)
        return max(self.utilisation().values(), default=0.0) * (1 + refused / accepted)

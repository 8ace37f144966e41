"""Quota: how much of the service one key may use, as token buckets.

A bucket holds a minute's worth. It is full at first, is filled evenly, and a request is served if the bucket
has what it costs; so a key that was quiet may send a minute's worth at once, and no key gets more than that
beyond its rate in any stretch of time. Used from the event loop alone; nothing here waits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.engine.clock import Clock
from app.errors import QuotaExceeded

WINDOW_S = 60
_ROUNDING = 1e-9  # of sums of seconds: who waits as long as told is not short of a billionth
REQUESTS, MEGAPIXELS = "requests", "megapixels"


@dataclass(frozen=True, slots=True)
class Rates:
    """What one key may use a minute; ``None`` is as much as it likes."""

    requests: float | None = None
    megapixels: float | None = None


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """What is left of one bucket.

    Attributes:
        resource: ``requests`` or ``megapixels``.
        quota: What the full bucket holds.
        remaining: What it holds now.
        full_in_s: Seconds until it is full again.
    """

    resource: str
    quota: float
    remaining: float
    full_in_s: float


class Bucket:
    """One token bucket."""

    def __init__(self, quota: float, now_s: float) -> None:
        self.quota = quota
        self._level = quota
        self._at_s = now_s

    def price(self, amount: float) -> float:
        """Return what ``amount`` costs: what exceeds the whole bucket costs the whole bucket."""
        return min(amount, self.quota)

    def take(self, amount: float, now_s: float) -> float:
        """Take the price of ``amount``, or nothing.

        Returns:
            0, or the seconds after which there will be enough.
        """
        wanted = self.price(amount)
        self._fill(now_s)
        if wanted <= self._level + _ROUNDING:
            self._level = max(0.0, self._level - wanted)
            return 0.0
        return (wanted - self._level) * WINDOW_S / self.quota

    def give_back(self, amount: float) -> None:
        """Put ``amount`` back, as far as there is room."""
        self._level = min(self.quota, self._level + amount)

    def standing(self, resource: str, now_s: float) -> QuotaStatus:
        """Return what is left."""
        self._fill(now_s)
        return QuotaStatus(
            resource, self.quota, self._level, (self.quota - self._level) * WINDOW_S / self.quota
        )

    def _fill(self, now_s: float) -> None:
        self._level = min(self.quota, self._level + (now_s - self._at_s) * self.quota / WINDOW_S)
        self._at_s = now_s


class Quota:
    """The buckets of one key."""

    def __init__(self, rates: Rates, clock: Clock) -> None:
        self.rates = rates
        self._clock = clock
        limits = ((REQUESTS, rates.requests), (MEGAPIXELS, rates.megapixels))
        self._buckets = {name: Bucket(rate, clock.now_s()) for name, rate in limits if rate is not None}

    def spend_request(self) -> None:
        """Pay for one request.

        Raises:
            QuotaExceeded: The key has none left; nothing was paid.
        """
        self._spend(REQUESTS, 1)

    def spend_rest_of(self, count: int) -> None:
        """Pay for a request that counts for ``count``, the first of which is paid for already.

        Raises:
            QuotaExceeded: The key has not as many left; nothing was paid.
        """
        # What exceeds the whole quota costs the whole quota, or it could never be paid.
        maximum = count if self.rates.requests is None else min(count, self.rates.requests)
        if maximum > 1:
            self._spend(REQUESTS, maximum - 1)

    def spend_pixels(self, count: int) -> None:
        """Pay for the pixels of a picture.

        Raises:
            QuotaExceeded: The key has not as many left; nothing was paid.
        """
        self._spend(MEGAPIXELS, count / 1e6)

    def settle_pixels(self, paid: int, needed: int) -> None:
        """Give back what was paid for ``paid`` pixels where only ``needed`` of them came to be."""
        bucket = self._buckets.get(MEGAPIXELS)
        if bucket is not None:
            bucket.give_back(max(0.0, bucket.price(paid / 1e6) - bucket.price(needed / 1e6)))

    def statuses(self) -> Iterator[QuotaStatus]:
        """Yield what is left of each bucket."""
        for resource, bucket in self._buckets.items():
            yield bucket.standing(resource, self._clock.now_s())

    def _spend(self, resource: str, amount: float) -> None:
        bucket = self._buckets.get(resource)
        wait_s = 0.0 if bucket is None else bucket.take(amount, self._clock.now_s())
        if bucket is not None and wait_s > 0:
            raise QuotaExceeded(resource, bucket.quota, retry_after_s=max(1, math.ceil(wait_s)))


class QuotaRegistry:
    """The allowance of each key, kept for as long as its rates stay the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str, Quota] = {}

    def of(self, name: str, rates: Rates) -> Quota:
        """Return a key's allowance; new rates begin with full buckets."""
        known = self._of.get(name)
        if known is None or known.rates != rates:
            known = self._of[name] = Quota(rates, self._clock)
        return known

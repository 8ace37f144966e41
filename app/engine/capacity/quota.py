"""Quota: limits how much of the service one key may use, with token buckets.

A bucket holds one minute's quota. It starts full, refills at a constant rate, and a request is served if the
bucket holds its cost. So an idle key may send a minute's quota at once, and in any period of time a key gets
at most its rate plus one full bucket. Not thread-safe: called on the event loop only. Nothing here waits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.engine.clock import Clock
from app.errors import QuotaExceeded

WINDOW_S = 60
_ROUNDING = 1e-9  # of sums of seconds: a caller that waits for Retry-After must not lack a billionth
REQUESTS, MEGAPIXELS = "requests", "megapixels"


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of one key per minute; ``None`` is unlimited."""

    requests: float | None = None
    megapixels: float | None = None


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """The state of one bucket.

    Attributes:
        resource: ``requests`` or ``megapixels``.
        quota: The capacity of the bucket.
        remaining: The amount left in it.
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
        """Return the cost of ``amount``, at most the whole bucket: otherwise it could never be paid."""
        return min(amount, self.quota)

    def take(self, amount: float, now_s: float) -> float:
        """Take the price of ``amount`` if the bucket holds it.

        Returns:
            0 if it was taken, else the seconds until the bucket holds enough.
        """
        price = self.price(amount)
        self._fill(now_s)
        if price <= self._level + _ROUNDING * min(1.0, self.quota):
            self._level = max(0.0, self._level - price)
            return 0.0
        return (price - self._level) * WINDOW_S / self.quota

    def give_back(self, amount: float) -> None:
        """Put ``amount`` back, up to the capacity of the bucket."""
        self._level = min(self.quota, self._level + amount)

    def status(self, resource: str, now_s: float) -> QuotaStatus:
        """Return the state of the bucket, under the name ``resource``."""
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
        """Charge for one request.

        Raises:
            QuotaExceeded: The key has none left; nothing was charged.
        """
        self._spend(REQUESTS, 1)

    def spend_rest_of(self, count: int) -> None:
        """Charge for a request that counts as ``count`` requests, the first of which was already charged.

        Raises:
            QuotaExceeded: The key has too few left; nothing was charged.
        """
        # A count above the whole quota costs the whole quota: otherwise it could never be paid.
        maximum = count if self.rates.requests is None else min(count, self.rates.requests)
        if maximum > 1:
            self._spend(REQUESTS, maximum - 1)

    def spend_pixels(self, count: int) -> None:
        """Charge for the pixels of a picture.

        Raises:
            QuotaExceeded: The key has too few left; nothing was charged.
        """
        self._spend(MEGAPIXELS, count / 1e6)

    def settle_pixels(self, paid: int, needed: int) -> None:
        """Refund the difference between ``paid`` pixels, the estimate, and ``needed`` pixels, the result."""
        bucket = self._buckets.get(MEGAPIXELS)
        if bucket is not None:
            bucket.give_back(max(0.0, bucket.price(paid / 1e6) - bucket.price(needed / 1e6)))

    def statuses(self) -> Iterator[QuotaStatus]:
        """Yield the state of each bucket."""
        for resource, bucket in self._buckets.items():
            yield bucket.status(resource, self._clock.now_s())

    def _spend(self, resource: str, amount: float) -> None:
        bucket = self._buckets.get(resource)
        wait_s = 0.0 if bucket is None else bucket.take(amount, self._clock.now_s())
        if bucket is not None and wait_s > 0:
            raise QuotaExceeded(resource, bucket.quota, retry_after_s=max(1, math.ceil(wait_s)))


class QuotaRegistry:
    """The quota of each key; a key whose rates change gets a new one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quotas: dict[str, Quota] = {}

    def of(self, name: str, rates: Rates) -> Quota:
        """Return a key's quota; new rates start with full buckets."""
        known = self._quotas.get(name)
        if known is None or known.rates != rates:
            known = self._quotas[name] = Quota(rates, self._clock)
        return known

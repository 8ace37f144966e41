"""Retries: decides whether and when a failed request to a server is sent again. Pure."""

from dataclasses import dataclass

RETRIED = frozenset({409, 429, 502, 503, 504})
"""A request in progress, a quota, a proxy without its server, overload, a deadline passed under load."""
PATIENCE_S = 300.0
"""Time for which a picture waits for a server that responds but is busy."""
NETWORK_PATIENCE_S = 60.0
"""Time for which a picture waits for a server that cannot be reached."""
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0
MAX_RETRY_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt.

    Attributes:
        number: 0 for the first.
        waited_s: The time since the first attempt began.
        status: The HTTP status; None if the network failed.
        retry_after: The value of ``Retry-After``, if there is one.
    """

    number: int
    waited_s: float
    status: int | None = None
    retry_after: str | None = None


def delay_before_retry(attempt: Attempt, *, jitter: float) -> float | None:
    """Return the seconds to wait before the next attempt, or None to give up.

    Args:
        attempt: The failed attempt.
        jitter: In [0, 1): spreads the retries of several pictures over a quarter of the delay.
    """
    if attempt.status is not None and attempt.status not in RETRIED:
        return None
    wanted_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt.number, 16))
    if attempt.retry_after is not None and attempt.retry_after.strip().isdigit():
        wanted_s = min(MAX_RETRY_AFTER_S, float(attempt.retry_after))
    delay_s = wanted_s * (1 + jitter / 4)
    patience_s = NETWORK_PATIENCE_S if attempt.status is None else PATIENCE_S
    return None if attempt.waited_s + delay_s > patience_s else delay_s

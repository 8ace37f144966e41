"""Idempotency keys: a repeated request is processed once.

The key is the ``Idempotency-Key`` header of draft-ietf-httpapi-idempotency-key-header. The same key with the
same request returns the same result; while the first is in progress, a second one is refused with a hint to
retry; the same key with another request is an error. Requests that failed or were cancelled may be repeated.

Only keys and digests are kept here, a few hundred bytes each. The results are in the result cache, as
long as they fit; a repeat of an evicted one is processed again, with the same result.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import IdempotencyKeyReused, RequestInProgress


@dataclass(slots=True)
class Claim:
    """One request with a key; ``etag`` is that of its result, once there is one."""

    request_digest: str
    etag: str | None = None


class IdempotencyKeys:
    """The keys in progress, and the ``maximum`` latest completed ones. Not thread-safe."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._completed: OrderedDict[tuple[str, str], Claim] = OrderedDict()
        self._in_progress: dict[tuple[str, str], Claim] = {}

    @contextmanager
    def claim(self, owner: str, name: str, request_digest: str) -> Iterator[Claim]:
        """Hold a key while its request is processed; the block sets ``etag`` when it succeeds.

        Args:
            owner: The caller that the key belongs to; keys of different owners are independent.
            name: The value of the header.
            request_digest: A digest of the request.

        Raises:
            RequestInProgress: The same request is in progress.
            IdempotencyKeyReused: The key belongs to another request.
        """
        key = owner, name
        known = self._in_progress.get(key) or self._completed.get(key)
        if known is not None and known.request_digest != request_digest:
            raise IdempotencyKeyReused
        if key in self._in_progress:
            raise RequestInProgress
        claim = self._in_progress[key] = Claim(request_digest, known.etag if known else None)
        try:
            yield claim
        finally:
            del self._in_progress[key]
            self._completed.pop(key, None)
            if claim.etag is not None:
                self._completed[key] = claim
            while len(self._completed) > self._maximum:
                self._completed.popitem(last=False)

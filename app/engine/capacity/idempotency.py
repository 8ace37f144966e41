"""IdempotencyKeys: a request that its caller has named is worked out once, however often it is sent.

The name is the ``Idempotency-Key`` of draft-ietf-httpapi-idempotency-key-header: the same name and the same
request give the same answer; while the first is under way, the second is told to wait; the same name with
another request is a mistake. What failed, or whose caller went away, may be sent again.

Only names and fingerprints are kept here, some hundred bytes each. The answers themselves are in the answer
cache, for as long as there is room; without them, the repeat is worked out anew, and comes out the same.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import IdempotencyKeyReused, RequestInProgress


@dataclass(slots=True)
class Claim:
    """One named request; ``etag`` is that of its answer, once there is one."""

    fingerprint: str
    etag: str | None = None


class IdempotencyKeys:
    """The named requests, the latest ``most`` of those that are done; for the event loop alone."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._done: OrderedDict[tuple[str, str], Claim] = OrderedDict()
        self._under_way: dict[tuple[str, str], Claim] = {}

    @contextmanager
    def claim(self, owner: str, name: str, fingerprint: str) -> Iterator[Claim]:
        """Hold a name while its request is worked out; the block sets ``etag`` where it succeeds.

        Args:
            owner: Whose name it is; others may use the same.
            name: The name.
            fingerprint: What the request asks for.

        Raises:
            RequestInProgress: This very request is being worked out.
            IdempotencyKeyReused: The name was given to another request.
        """
        key = owner, name
        known = self._under_way.get(key) or self._done.get(key)
        if known is not None and known.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        if key in self._under_way:
            raise RequestInProgress
        claim = self._under_way[key] = Claim(fingerprint, known.etag if known else None)
        try:
            yield claim
        finally:
            del self._under_way[key]
            self._done.pop(key, None)
            if claim.etag is not None:
                self._done[key] = claim
            while len(self._done) > self._maximum:
                self._done.popitem(last=False)

"""Idempotency keys: one key, one request, one result."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.idempotency import IdempotencyKeys
from app.errors import IdempotencyKeyReused, RequestInProgress


def test_a_repeated_request_gets_the_etag_of_the_first() -> None:
    idempotency_keys = IdempotencyKeys(10)
    with idempotency_keys.claim("a", "one", "picture") as claim:
        assert claim.etag is None
        claim.etag = "tag"

    with idempotency_keys.claim("a", "one", "picture") as again:
        assert again.etag == "tag"


def test_a_key_belongs_to_one_request_per_owner() -> None:
    idempotency_keys = IdempotencyKeys(10)
    with idempotency_keys.claim("a", "one", "picture") as claim:
        with pytest.raises(IdempotencyKeyReused), idempotency_keys.claim("a", "one", "other"):
            pass
        claim.etag = "tag"
    with pytest.raises(IdempotencyKeyReused), idempotency_keys.claim("a", "one", "other"):
        pass

    with idempotency_keys.claim("b", "one", "other") as claim:
        assert claim.etag is None


def test_a_key_in_progress_is_refused_and_a_failed_one_is_released() -> None:
    idempotency_keys = IdempotencyKeys(10)
    with suppress(ZeroDivisionError), idempotency_keys.claim("a", "one", "picture"):
        with pytest.raises(RequestInProgress), idempotency_keys.claim("a", "one", "picture"):
            pass
        raise ZeroDivisionError

    with idempotency_keys.claim("a", "one", "another one") as claim:
        assert claim.etag is None


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_only_the_latest_keys_are_kept(names: list[int], maximum: int) -> None:
    idempotency_keys = IdempotencyKeys(maximum)
    for name in names:
        with idempotency_keys.claim("a", str(name), "picture") as claim:
            claim.etag = "tag"
    latest = list(dict.fromkeys(reversed(names)))[:maximum]

    for name in range(10):
        with idempotency_keys.claim("a", str(name), "picture") as claim:
            kept, claim.etag = claim.etag is not None, None
        assert kept is (name in latest)

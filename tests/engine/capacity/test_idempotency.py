"""IdempotencyKeys: one name, one request, one answer."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.idempotency import IdempotencyKeys
from app.errors import IdempotencyKeyReused, RequestInProgress


def test_what_is_done_is_known_by_its_name() -> None:
    idempotency_keys = IdempotencyKeys(10)
    with idempotency_keys.claim("a", "one", "picture") as claim:
        assert claim.etag is None
        claim.etag = "tag"

    with idempotency_keys.claim("a", "one", "picture") as again:
        assert again.etag == "tag"


def test_another_request_may_not_have_the_name_but_another_owner_may() -> None:
    idempotency_keys = IdempotencyKeys(10)
    with idempotency_keys.claim("a", "one", "picture") as claim:
        with pytest.raises(IdempotencyKeyReused), idempotency_keys.claim("a", "one", "other"):
            pass
        claim.etag = "tag"
    with pytest.raises(IdempotencyKeyReused), idempotency_keys.claim("a", "one", "other"):
        pass

    with idempotency_keys.claim("b", "one", "other") as theirs:
        assert theirs.etag is None


def test_the_second_waits_for_the_first_and_a_failure_is_forgotten() -> None:
    idempotency_keys = IdempotencyKeys(10)
    with suppress(ZeroDivisionError), idempotency_keys.claim("a", "one", "picture"):
        with pytest.raises(RequestInProgress), idempotency_keys.claim("a", "one", "picture"):
            pass
        raise ZeroDivisionError

    with idempotency_keys.claim("a", "one", "another one") as claim:
        assert claim.etag is None


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_the_latest_are_kept_and_no_more(names: list[int], maximum: int) -> None:
    idempotency_keys = IdempotencyKeys(maximum)
    for name in names:
        with idempotency_keys.claim("a", str(name), "picture") as claim:
            claim.etag = "tag"
    latest = list(dict.fromkeys(reversed(names)))[:maximum]

    for name in range(10):
        with idempotency_keys.claim("a", str(name), "picture") as claim:
            kept, claim.etag = claim.etag is not None, None
        assert kept is (name in latest)

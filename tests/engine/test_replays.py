"""Replays: one name, one request, one answer."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.replays import Replays
from app.errors import NameReused, UnderWay


def test_what_is_done_is_known_by_its_name() -> None:
    replays = Replays(10)
    with replays.claim("a", "one", "picture") as claim:
        assert claim.etag is None
        claim.etag = "tag"

    with replays.claim("a", "one", "picture") as again:
        assert again.etag == "tag"


def test_another_request_may_not_have_the_name_but_another_owner_may() -> None:
    replays = Replays(10)
    with replays.claim("a", "one", "picture") as claim:
        with pytest.raises(NameReused), replays.claim("a", "one", "other"):
            pass
        claim.etag = "tag"
    with pytest.raises(NameReused), replays.claim("a", "one", "other"):
        pass

    with replays.claim("b", "one", "other") as theirs:
        assert theirs.etag is None


def test_the_second_waits_for_the_first_and_a_failure_is_forgotten() -> None:
    replays = Replays(10)
    with suppress(ZeroDivisionError), replays.claim("a", "one", "picture"):
        with pytest.raises(UnderWay), replays.claim("a", "one", "picture"):
            pass
        raise ZeroDivisionError

    with replays.claim("a", "one", "another one") as claim:
        assert claim.etag is None


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_the_latest_are_kept_and_no_more(names: list[int], most: int) -> None:
    replays = Replays(most)
    for name in names:
        with replays.claim("a", str(name), "picture") as claim:
            claim.etag = "tag"
    latest = list(dict.fromkeys(reversed(names)))[:most]

    for name in range(10):
        with replays.claim("a", str(name), "picture") as claim:
            kept, claim.etag = claim.etag is not None, None
        assert kept is (name in latest)

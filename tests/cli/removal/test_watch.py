import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.removal.values import Source
from app.cli.removal.watch import Stamp, Watcher, stamps_of
from tests.generated import examples

PHOTO = Path("photo.jpg")


def looks(*stamps: Stamp | None) -> list[int]:
    """Return the looks, one a second, at which a file with these stamps is taken."""
    watcher = Watcher(settle_s=2.0)
    return [
        second
        for second, stamp in enumerate(stamps)
        if watcher.take_settled({} if stamp is None else {PHOTO: stamp}, float(second))
    ]


def test_a_file_is_taken_once_it_has_not_changed_for_a_while() -> None:
    assert [2] == looks(*[(9, 1)] * 6)


def test_a_growing_file_is_taken_after_its_last_change() -> None:
    assert [5] == looks((1, 1), (2, 2), (3, 3), (4, 4), (4, 4), (4, 4), (4, 4))


def test_a_file_of_the_same_size_with_a_newer_change_is_not_settled() -> None:
    assert [3] == looks((9, 1), (9, 2), (9, 2), (9, 2))


def test_an_empty_file_is_not_complete() -> None:
    assert [7] == looks(*[(0, 1)] * 5, *[(3, 2)] * 3)


def test_a_file_that_changes_after_it_was_taken_is_taken_again() -> None:
    assert [2, 5] == looks(*[(9, 1)] * 3, *[(10, 2)] * 4)


def test_a_file_that_returns_is_new() -> None:
    assert [2, 6] == looks(*[(9, 1)] * 3, None, *[(9, 1)] * 3)


@examples(1)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_a_taken_file_had_its_stamp_for_the_whole_time(stamps: list[Stamp]) -> None:
    taken = looks(*stamps)

    assert all({stamps[at]} == set(stamps[at - 2 : at + 1]) and stamps[at][0] > 0 for at in taken)
    for first, second in itertools.pairwise(taken):
        assert set(stamps[first : second + 1]) != {stamps[first]}


def test_the_stamp_of_a_file_that_was_renamed_meanwhile_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    os.utime(tmp_path / "a.jpg", ns=(5, 7))
    sources = [Source(tmp_path / "a.jpg"), Source(tmp_path / "gone.jpg")]

    assert {tmp_path / "a.jpg": (3, pytest.approx(7, abs=1e6))} == stamps_of(sources)

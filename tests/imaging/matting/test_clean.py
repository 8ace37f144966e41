import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from app.arrays import Mask, SaliencyMap
from app.imaging.matting.clean import clean_map
from tests.generated import examples
from tests.peaks import peak_bytes
from tests.pictures import disc_alpha


def components(mask: Mask, *, diagonals: bool) -> list[set[tuple[int, int]]]:
    """Find connected components by flood fill, one pixel at a time."""
    unvisited = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * diagonals
    found = []
    while unvisited:
        queue, component = [unvisited.pop()], set()
        while queue:
            y, x = queue.pop()
            component.add((y, x))
            near = {(y + down, x + right) for down, right in steps} & unvisited
            unvisited -= near
            queue += near
        found.append(component)
    return found


def blotches(seed: int, side: int = 24) -> SaliencyMap:
    """Build a map of blotches of many sizes and values."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((side // 3, side // 3)) ** 2
    grid = np.kron(coarse, np.ones((3, 3))) + rng.normal(0, 0.15, (side, side))
    return np.clip(grid, 0, 1).astype(np.float32)


def with_speck_and_hole() -> SaliencyMap:
    saliency = disc_alpha(100, 100, softness=0.05)
    saliency[4:7, 4:7] = [[0.3, 0.6, 0.3], [0.6, 1.0, 0.6], [0.3, 0.6, 0.3]]
    saliency[49:51, 49:51] = 0.2
    return saliency


def test_a_speck_is_removed_with_its_soft_rim_and_a_hole_is_filled() -> None:
    dirty = with_speck_and_hole()
    cleaned = clean_map(dirty, area=0.002)

    assert 0 == cleaned[4:7, 4:7].max()
    assert 0.95 < cleaned[49:51, 49:51].min()


def test_components_that_are_large_enough_stay_bit_identical() -> None:
    dirty = with_speck_and_hole()
    elsewhere = np.ones(dirty.shape, dtype=bool)
    elsewhere[4:7, 4:7] = elsewhere[49:51, 49:51] = False

    assert_array_equal(dirty[elsewhere], clean_map(dirty, area=0.002)[elsewhere])
    assert_array_equal(dirty, clean_map(dirty, area=0.0))


def test_a_speck_on_haze_is_lowered_to_the_haze() -> None:
    saliency = np.full((50, 50), 0.2, dtype=np.float32)
    saliency[10:40, 10:40] = 1
    saliency[3:5, 3:5] = 0.9
    cleaned = clean_map(saliency, area=0.01)

    assert 0.2 <= cleaned[3:5, 3:5].max() < 0.2 + 0.5 / 16


@pytest.mark.parametrize("area", [0.001, 0.1])
def test_the_only_subject_stays_whatever_its_size(area: float) -> None:
    saliency = np.zeros((60, 60), dtype=np.float32)
    saliency[20:22, 20:22] = 1

    assert_array_equal(saliency, clean_map(saliency, area=area))


def test_a_subject_below_the_dividing_level_stays() -> None:
    saliency = np.zeros((60, 60), dtype=np.float32)
    saliency[20:30, 20:30] = 0.4
    saliency[50, 50] = 0.3
    cleaned = clean_map(saliency, area=0.01)

    assert_array_equal(saliency[:40], cleaned[:40])
    assert 0 == cleaned[50, 50]


@given(seed=st.integers(0, 10_000), area=st.floats(0.001, 0.1), level=st.sampled_from([0.3, 0.5, 0.8]))
def test_only_components_below_the_area_are_removed(seed: int, area: float, level: float) -> None:
    dirty = blotches(seed)
    cleaned = clean_map(dirty, area=area, level=level)
    min_px = area * dirty.size
    subjects = components(dirty >= np.float32(level), diagonals=True)
    largest = largest_subject = max(map(len, subjects), default=0)
    expected = {pixel for subject in subjects if len(subject) >= min(min_px, largest) for pixel in subject}
    without_specks = np.zeros(dirty.shape, dtype=bool)
    for pixel in expected:
        without_specks[pixel] = True
    holes = components(~without_specks, diagonals=False)
    largest = max(map(len, holes), default=0)
    for hole in holes:
        if len(hole) < min(min_px, largest):
            for pixel in hole:
                without_specks[pixel] = True

    assert_array_equal(without_specks, cleaned >= np.float32(level))
    if largest_subject >= min_px:  # else one of several equally small ones may grow larger than the others
        again = clean_map(cleaned, area=area, level=level)
        assert_array_equal(without_specks, again >= np.float32(level))
    assert (np.float32, dirty.shape) == (cleaned.dtype, cleaned.shape)


@given(seed=st.integers(0, 10_000), area=st.floats(0.001, 0.1), block_px=st.sampled_from([2, 4, 8]))
@examples(1 / 2)
def test_a_large_map_of_whole_blocks_is_cleaned_like_the_small_one(
    seed: int, area: float, block_px: int
) -> None:
    small = blotches(seed)
    large = np.kron(small, np.ones((block_px, block_px), np.float32))
    expected = np.kron(clean_map(small, area=area), np.ones((block_px, block_px)))

    difference = np.abs(clean_map(large, area=area, max_px=small.size) - expected)

    assert difference.max() < 0.5 / 16  # values below the faintest level are invisible
    assert np.mean(difference > 1e-6) < 0.05


@given(st.integers(0, 10_000), st.booleans(), st.integers(2, 5))
@examples(1 / 2)
def test_specks_and_holes_of_a_large_map_vanish_with_their_rims(
    seed: int, is_hole: bool, block_px: int
) -> None:
    """At any position relative to the blocks; large components stay bit-identical."""
    rng = np.random.default_rng(seed)
    dirty = np.zeros((163, 211), np.float32)
    dirty[20:120, 100:200] = rng.uniform(0.98, 1, (100, 100))
    kept = dirty.copy()
    top, left = (50, 130) if is_hole else (40, 10)
    top, left = top + int(rng.integers(0, 20)), left + int(rng.integers(0, 20))
    down, right = (int(rng.integers(4 * block_px // 2, 13)) for _ in range(2))
    dirty[top : top + down, left : left + right] = 0 if is_hole else 1
    cleaned = clean_map(dirty, area=0.012, max_px=dirty.size // block_px**2)
    near = np.zeros(dirty.shape, bool)
    near[max(0, top - 14) : top + down + 14, max(0, left - 14) : left + right + 14] = True

    assert_array_equal(kept[~near], cleaned[~near])
    assert not is_hole or cleaned[20:120, 100:200].min() > 0.9
    assert is_hole or cleaned[near].max() == 0


@pytest.mark.parametrize("height", [100, 700])
def test_cleaning_takes_few_bytes_a_pixel(height: int) -> None:
    saliency = np.tile(blotches(3, side=60), (height // 60 + 1, 40))[:height].copy()

    assert peak_bytes(lambda: clean_map(saliency, area=0.01, max_px=60_000)) <= 12 * saliency.size + 6 * 2**20


def test_check_is_called_for_each_level() -> None:
    calls: list[int] = []
    clean_map(with_speck_and_hole(), area=0.002, check=lambda: calls.append(1))

    assert len(calls) == 32

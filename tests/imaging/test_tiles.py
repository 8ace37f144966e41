import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from app.imaging.tiles import (
    covering,
    enlarge_planes,
    enlarge_tile,
    shrink,
    shrink_sides,
    surroundings,
    tiles_of,
)
from tests.generated import examples
from tests.pictures import noise


@given(height=st.integers(1, 700), width=st.integers(1, 700), scale=st.integers(1, 13))
@examples(1 / 2)
def test_tiles_cover_every_pixel_once(height: int, width: int, scale: int) -> None:
    covered = np.zeros((height, width), dtype=int)
    for tile in tiles_of(height, width, multiple_px=scale):
        covered[tile] += 1

    assert (covered == 1).all()


@given(height=st.integers(1, 900), width=st.integers(1, 600), scale=st.integers(1, 13))
@examples(1 / 2)
def test_an_enlarged_tile_equals_that_part_of_the_enlarged_whole(height: int, width: int, scale: int) -> None:
    coarse = noise((-(-height // scale), -(-width // scale), 6)).astype(np.float32)
    size = (coarse.shape[1] * scale, coarse.shape[0] * scale)
    halves = [cv2.resize(coarse[:, :, c], size, interpolation=cv2.INTER_LINEAR) for c in range(6)]
    whole = np.dstack(halves)
    for tile in tiles_of(height, width, multiple_px=scale):
        assert_allclose(enlarge_tile(coarse, tile, scale), whole[tile], atol=1e-2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_blocks_are_averaged_with_the_edge_repeated(dtype: type) -> None:
    pixels = np.array([[0, 4, 8], [4, 8, 12], [100, 100, 50]], dtype=dtype)
    actual = shrink(pixels, 2)

    assert_array_equal(actual, [[4, 10], [100, 50]])
    assert dtype == actual.dtype


@given(height=st.integers(1, 60), width=st.integers(1, 60), down=st.integers(1, 13), right=st.integers(1, 13))
@examples(1 / 2)
def test_blocks_of_any_shape_are_averaged_as_in_a_picture_of_whole_blocks(
    height: int, width: int, down: int, right: int
) -> None:
    pixels = noise((height, width, 3))
    padded = np.pad(pixels, ((0, -height % down), (0, -width % right), (0, 0)), mode="edge").astype(float)
    rows, columns = len(padded) // down, padded.shape[1] // right
    expected = padded.reshape(rows, down, columns, right, 3).mean(axis=(1, 3))

    assert_allclose(shrink_sides(pixels, down, right), expected, atol=0.5 + 1e-3)


@given(height=st.integers(1, 300), width=st.integers(1, 300), scale=st.integers(1, 13))
@examples(1 / 2)
def test_planes_are_enlarged_like_channels(height: int, width: int, scale: int) -> None:
    coarse = noise((-(-height // scale), -(-width // scale), 3)).astype(np.float32)
    planes = np.ascontiguousarray(np.moveaxis(coarse, 2, 0))
    for tile in tiles_of(height, width, multiple_px=scale):
        expected = enlarge_tile(coarse, tile, scale)
        assert_allclose(np.dstack(enlarge_planes(planes, tile, scale)), expected, atol=1e-3)


def test_a_mask_is_covered_from_a_multiple_on() -> None:
    mask = np.zeros((30, 40), np.uint8)

    assert covering(mask, 4) is None
    mask[13:20, 22:23] = 255
    assert (slice(12, 20), slice(20, 23)) == covering(mask, 4)


@pytest.mark.parametrize(
    ("reach", "expected"), [(0, (slice(8, 16), slice(0, 8))), (2, (slice(0, 21), slice(0, 12)))]
)
def test_surroundings_end_at_the_edges_of_blocks_or_of_the_picture(
    reach: int, expected: tuple[slice, slice]
) -> None:
    tile = slice(9, 15), slice(0, 5)

    assert expected == surroundings(tile, 21, 12, reach=reach, scale=4)

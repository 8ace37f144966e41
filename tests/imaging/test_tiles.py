import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from app.imaging.tiles import enlarge_tile, shrink, tiles_of
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

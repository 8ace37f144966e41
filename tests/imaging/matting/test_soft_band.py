import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.soft_band import (
    SURE_BACKGROUND,
    SURE_FOREGROUND,
    find_soft_band,
    shrink_enlarged,
)
from app.imaging.tiles import shrink
from tests.generated import examples
from tests.imaging.matting.maps import KINDS, saliency_map

SIZES = st.sampled_from([(320, 320), (33, 47), (1, 1), (700, 400)])


@given(
    kind=st.sampled_from(KINDS),
    map_size=SIZES,
    height=st.integers(1, 800),
    width=st.integers(1, 800),
    scale=st.integers(1, 13),
)
@examples(1 / 2)
def test_tiles_that_are_not_soft_are_all_background_or_all_subject(
    kind: str, map_size: tuple[int, int], height: int, width: int, scale: int
) -> None:
    saliency = saliency_map(kind, *map_size, seed=height)
    enlarged = resize_saliency(saliency, height, width)
    band = find_soft_band(saliency, height, width, multiple_px=scale)
    is_sure = np.ones((height, width), bool)
    for tile, part in band.soft_tiles():
        assert_allclose(part, enlarged[tile], atol=1e-5)
        is_sure[tile] = False
    alpha = band.sure_alpha()

    assert (enlarged[is_sure & (alpha == 0)] < SURE_BACKGROUND + 1e-5).all()
    assert (enlarged[is_sure & (alpha == 1)] > SURE_FOREGROUND - 1e-5).all()
    assert not alpha[~is_sure].any()


@given(
    kind=st.sampled_from(KINDS),
    map_size=SIZES,
    height=st.integers(1, 800),
    width=st.integers(1, 800),
    scale=st.integers(1, 13),
)
@examples(1 / 2)
def test_blocks_are_averaged_as_those_of_the_enlarged_map(
    kind: str, map_size: tuple[int, int], height: int, width: int, scale: int
) -> None:
    saliency = saliency_map(kind, *map_size, seed=height)
    expected = shrink(resize_saliency(saliency, height, width), scale)

    assert_allclose(shrink_enlarged(saliency, height, width, scale), expected, atol=1e-5)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_a_map_without_a_soft_band_has_no_soft_tiles(value: float, expected: float) -> None:
    band = find_soft_band(np.full((320, 320), value, np.float32), 500, 700, multiple_px=2)

    assert band.box() is None
    assert not list(band.soft_tiles())
    assert (band.sure_alpha() == expected).all()


def test_the_box_surrounds_the_soft_tiles() -> None:
    saliency = np.zeros((320, 320), np.float32)
    saliency[100:110, 40:60] = 0.5
    band = find_soft_band(saliency, 1280, 1280, multiple_px=4)
    box = band.box()

    assert box is not None
    rows, columns = box
    assert rows.start <= 4 * 99 < 4 * 111 <= rows.stop <= 4 * 111 + 2 * band.side_px
    assert columns.start <= 4 * 39 < 4 * 61 <= columns.stop <= 4 * 61 + 2 * band.side_px

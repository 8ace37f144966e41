"""The pixels that strokes cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from app.imaging.matting.painting import paint, painted_pixels
from app.imaging.matting.stroke_list import Stroke
from tests.generated import examples


def test_a_stroke_covers_the_pixels_within_half_its_width() -> None:
    """The oracle is the distance of each pixel's centre to the segment, to within a pixel."""
    painted = paint(60, 80, strokes=[Stroke("keep", 12, ((20, 30), (55, 40)))])
    y, x = np.mgrid[0:60, 0:80] + 0.5
    along = np.clip(((x - 20) * 35 + (y - 30) * 10) / (35**2 + 10**2), 0, 1)
    distance = np.hypot(x - 20 - 35 * along, y - 30 - 10 * along)

    assert (painted[distance < 5] == 255).all()
    assert (painted[distance > 7] == 128).all()


def test_a_single_point_is_a_disc() -> None:
    painted = paint(40, 40, strokes=[Stroke("remove", 10, ((20, 20),))])
    y, x = np.mgrid[0:40, 0:40] + 0.5

    assert (painted[np.hypot(x - 20, y - 20) < 4] == 0).all()
    assert (painted[np.hypot(x - 20, y - 20) > 6] == 128).all()


def test_later_strokes_count_and_strokes_count_more_than_pictures() -> None:
    left, top = np.zeros((2, 20, 20), bool)
    left[:, :10] = top[:10] = True
    keep, remove = (Stroke(kind, 4, ((5, 15), (15, 15))) for kind in ("keep", "remove"))

    painted = paint(20, 20, keep=left, remove=top, strokes=[keep, remove])
    assert (painted[2, 2], painted[2, 15], painted[15, 2], painted[18, 18]) == (0, 0, 255, 128)
    assert painted[15, 10] == 0
    assert paint(20, 20, strokes=[remove, keep])[15, 10] == 255


@given(st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30)), min_size=1, max_size=4))
@examples(1)
def test_points_outside_the_picture_are_clipped(points: list[tuple[float, float]]) -> None:
    painted = paint(30, 40, strokes=[Stroke("keep", 3, tuple(points))])

    assert set(np.unique(painted)) <= {128, 255}


def test_a_line_through_the_picture_is_not_bent_by_clipping() -> None:
    far = paint(30, 40, strokes=[Stroke("keep", 4, ((-960, -985), (1040, 1015)))])
    near = paint(30, 40, strokes=[Stroke("keep", 4, ((-10, -35), (90, 65)))])

    assert (near == 255).sum() > 50
    assert np.count_nonzero(far != near) <= 4


def test_a_stroke_outside_the_picture_paints_nothing() -> None:
    strokes = [Stroke("keep", 4, ((-50, -50), (-50, 90))), Stroke("keep", 4, ((1000, 5),))]

    assert (paint(30, 40, strokes=strokes) == 128).all()


def test_strokes_are_scaled_with_the_picture() -> None:
    stroke = Stroke("keep", 8, ((20, 20), (60, 40)))
    whole, half = paint(60, 80, strokes=[stroke]), paint(30, 40, strokes=[stroke], scale=(0.5, 0.5))

    assert np.mean((whole[::2, ::2] == 255) != (half == 255)) < 0.03


def test_strokes_that_paint_all_over_many_times_are_refused() -> None:
    zigzag = tuple((float(x), float(y)) for _ in range(50) for x, y in ((0, 0), (40, 30)))

    with pytest.raises(ValueError, match="too often"):
        paint(30, 40, strokes=[Stroke("keep", 500, zigzag)])


@pytest.mark.parametrize("size", [(20, 30), (40, 60), (80, 120)])
def test_a_picture_of_strokes_is_stretched_and_painted_where_bright(size: tuple[int, int]) -> None:
    grey = np.full(size, 127, np.uint8)
    grey[: size[0] // 2, size[1] // 2 :] = 128
    expected = np.zeros((40, 60), bool)
    expected[:20, 30:] = True

    assert_array_equal(expected, painted_pixels(grey, 40, 60))

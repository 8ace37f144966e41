"""The subject's place on the canvas, against an independent computation in fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import RegionIsEmpty, RegionOutsidePicture
from app.imaging.layout.arrange import subject_box
from app.imaging.layout.placement import (
    Layout,
    Length,
    Rectangle,
    parse_length,
    parse_margins,
    parse_position,
    parse_region,
    parse_scale,
    place,
    region_of,
    shrunk_size,
)

sides = st.integers(1, 300)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[int, int, Rectangle]:
    height, width = draw(sides), draw(sides)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    return height, width, Rectangle(left, top, right, bottom)


def nearest(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


@given(scenes())
def test_an_empty_layout_moves_nothing(scene: tuple[int, int, Rectangle]) -> None:
    height, width, box = scene
    placed = place(height, width, box, Layout())

    assert (placed.height, placed.width) == (height, width)
    assert placed.source == placed.target == Rectangle(0, 0, width, height)
    assert place(height, width, None, Layout(crop=True)) == placed


@given(scenes(), st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=4, max_size=4))
def test_a_crop_is_the_subject_and_its_margins(
    scene: tuple[int, int, Rectangle], margins: list[tuple[int, bool]]
) -> None:
    height, width, box = scene
    lengths = [Length(value, is_percent=percent) for value, percent in margins]
    placed = place(
        height, width, box, Layout(crop=True, margins=(lengths[0], lengths[1], lengths[2], lengths[3]))
    )

    high, wide = box.bottom - box.top, box.right - box.left
    top, right, bottom, left = (
        nearest(Fraction(value * whole, 100)) if percent else value
        for (value, percent), whole in zip(margins, (high, wide, high, wide), strict=True)
    )
    assert placed.source == box
    assert (placed.height, placed.width) == (top + high + bottom, left + wide + right)
    assert placed.target == Rectangle(left, top, left + wide, top + high)


@given(scenes(), st.integers(10, 100), st.none() | st.tuples(st.integers(0, 100), st.integers(0, 100)))
def test_a_scaled_subject_fills_the_requested_part_of_the_canvas(
    scene: tuple[int, int, Rectangle], percent: int, position: tuple[int, int] | None
) -> None:
    height, width, box = scene
    at = None if position is None else (position[0] / 100, position[1] / 100)
    placed = place(height, width, box, Layout(scale=percent / 100, position=at))

    factor = Fraction(percent, 100) * min(Fraction(width, box.width), Fraction(height, box.height))
    across, down = position or (50, 50)
    assert abs(placed.target.width - max(Fraction(1), box.width * factor)) <= Fraction(1, 2) + Fraction(
        1, 10**6
    )
    assert abs(placed.target.height - max(Fraction(1), box.height * factor)) <= Fraction(1, 2) + Fraction(
        1, 10**6
    )
    assert abs(placed.target.left - (width - placed.target.width) * Fraction(across, 100)) <= Fraction(
        51, 100
    )
    assert abs(placed.target.top - (height - placed.target.height) * Fraction(down, 100)) <= Fraction(51, 100)
    assert 0 <= placed.target.left <= placed.target.right <= width
    assert 0 <= placed.target.top <= placed.target.bottom <= height


@given(scenes(), st.tuples(st.integers(0, 100), st.integers(0, 100)))
def test_a_moved_subject_keeps_its_size(scene: tuple[int, int, Rectangle], position: tuple[int, int]) -> None:
    height, width, box = scene
    placed = place(height, width, box, Layout(position=(position[0] / 100, position[1] / 100)))

    assert (placed.target.width, placed.target.height) == (box.width, box.height)
    assert (placed.height, placed.width) == (height, width)


@given(scenes())
def test_the_subjects_box_excludes_residue(scene: tuple[int, int, Rectangle]) -> None:
    height, width, box = scene
    alpha = np.full((height, width), 7, np.uint8)
    assert subject_box(alpha) is None

    alpha[box.top, box.left] = alpha[box.bottom - 1, box.right - 1] = 8
    assert subject_box(alpha) == box


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 50_000_000))
def test_a_shrunk_picture_is_the_largest_that_fits(height: int, width: int, max_px: int) -> None:
    new_height, new_width = shrunk_size(height, width, max_px)
    if height * width <= max_px:
        assert (new_height, new_width) == (height, width)
        return
    assume(min(new_height, new_width) > 1)
    assert new_height * new_width <= max_px
    assert (new_height + 1) * (new_width + 1) > max_px * 0.999
    assert abs(new_height / new_width / (height / width) - 1) < 2 / min(new_height, new_width)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", Length(10)), ("10px", Length(10)), ("1.5%", Length(1.5, is_percent=True)), ("0", Length(0))],
)
def test_a_length_is_in_pixels_or_per_cent(text: str, expected: Length) -> None:
    assert parse_length(text) == expected


@pytest.mark.parametrize(
    "text", ["", "px", "%", "-1", "1e3", "1 0", "10em", "1.", ".5", "٣", "9999999", "10%%", "NaN"]
)
def test_an_invalid_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the error texts of options name the problem
        parse_length(text)


def test_margins_are_read_clockwise_from_the_top() -> None:
    one, two, three, four = (Length(n) for n in (1, 2, 3, 4))

    assert parse_margins("1") == (one, one, one, one)
    assert parse_margins("1 2px") == (one, two, one, two)
    assert parse_margins("1 2 3 4") == (one, two, three, four)
    assert parse_margins("50% 500px")[1] == Length(500)
    for text in ("", "1 2 3", "1 2 3 4 5", "51%", "501px", "1,2"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_margins(text)


def test_scales_and_positions_are_words_or_percentages() -> None:
    assert (parse_scale("original"), parse_scale("10%"), parse_scale("100%")) == (None, 0.1, 1.0)
    assert (parse_position("original"), parse_position("center")) == (None, (0.5, 0.5))
    assert (parse_position("20%"), parse_position("20% 80%")) == ((0.2, 0.2), (0.2, 0.8))
    for text in ("9%", "101%", "50", "50px", "", "big"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_scale(text)
    for text in ("101%", "50px", "", "1% 2% 3%", "left"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_position(text)


def test_a_region_is_two_corners_inside_the_picture() -> None:
    assert region_of(parse_region("0% 0% 100% 100%"), 30, 40) == Rectangle(0, 0, 40, 30)
    assert region_of(parse_region("30px 20 10 5"), 30, 40) == Rectangle(10, 5, 30, 20)
    with pytest.raises(RegionOutsidePicture):
        region_of(parse_region("0 0 41 30"), 30, 40)
    with pytest.raises(RegionIsEmpty):
        region_of(parse_region("10 0 10 30"), 30, 40)
    with pytest.raises(ValueError, match="expected 4"):
        parse_region("0 0 1")

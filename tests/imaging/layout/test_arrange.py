"""The pixels of a layout, against plain loops over floats."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.imaging.layout.arrange import (
    arrange,
    blur_backdrop,
    cover,
    drop_shadow,
    is_opaque,
    lay_over,
    resize_cutout,
    subject_box,
)
from app.imaging.layout.placement import Layout, Length, Placement, Rectangle, place
from tests.generated import examples
from tests.peaks import peak_bytes
from tests.pictures import noise, photo

SLACK_BYTES = 12 * 2**20  # strips, which do not grow with the picture


def cutout_of(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    cutout = noise((height, width, 4), seed)
    cutout[cutout[:, :, 3] < 40] = 0
    return cutout


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.integers(0, 5), st.integers(0, 9))
def test_a_crop_is_placed_at_its_target(height: int, width: int, left: int, top: int, seed: int) -> None:
    cutout = cutout_of(height, width, seed)
    source = Rectangle(0, 0, max(1, width // 2), max(1, height // 2))
    target = Rectangle(left, top, left + source.width, top + source.height)
    canvas = arrange(cutout, Placement(target.bottom + 2, target.right + 3, source, target))

    for row in range(canvas.shape[0]):
        for column in range(canvas.shape[1]):
            inside = top <= row < target.bottom and left <= column < target.right
            expected = cutout[row - top, column - left].tolist() if inside else [0, 0, 0, 0]
            assert canvas[row, column].tolist() == expected


def test_an_empty_layout_returns_the_same_cutout() -> None:
    cutout = cutout_of(7, 9)

    assert arrange(cutout, place(7, 9, Rectangle(1, 1, 3, 3), Layout())) is cutout


def test_a_crop_contains_every_pixel_of_the_subject() -> None:
    cutout = np.zeros((40, 50, 4), np.uint8)
    cutout[10:25, 20:30] = cutout_of(15, 10) | 128
    box = subject_box(cutout[:, :, 3])
    cropped = arrange(cutout, place(40, 50, box, Layout(crop=True, margins=(Length(2),) * 4)))

    assert box == Rectangle(20, 10, 30, 25)
    assert cropped.shape == (19, 14, 4)
    assert np.array_equal(cropped[2:-2, 2:-2], cutout[10:25, 20:30])
    assert not cropped[:2].any()
    assert not cropped[:, -2:].any()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
@examples(1 / 2)
def test_shrinking_by_whole_factors_averages_colours_weighted_by_alpha(
    rows: int, columns: int, factor: int, seed: int
) -> None:
    cutout = cutout_of(rows * factor, columns * factor, seed)
    shrunk = resize_cutout(cutout, rows, columns) if factor > 1 else cutout

    for row in range(rows):
        for column in range(columns):
            block = cutout[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            pixels = block.reshape(-1, 4).astype(float)
            weight = pixels[:, 3].sum()
            assert abs(float(shrunk[row, column, 3]) - pixels[:, 3].mean()) <= 0.51
            if shrunk[row, column, 3] > 0:
                expected = (pixels[:, :3] * pixels[:, 3:]).sum(axis=0) / weight
                assert np.abs(shrunk[row, column, :3] - expected).max() <= 0.51


def test_colours_of_transparent_pixels_do_not_bleed_in() -> None:
    cutout = np.zeros((8, 8, 4), np.uint8)
    cutout[:, 4:] = (200, 100, 50, 255)
    for size in ((4, 4), (13, 13), (3, 5)):
        scaled = resize_cutout(cutout, *size)
        is_visible = scaled[:, :, 3] > 0
        assert np.abs(scaled[is_visible][:, :3].astype(int) - (200, 100, 50)).max() <= 1
        assert not scaled[~is_visible].any()


@given(st.integers(0, 50), st.sampled_from([3, 4]), st.booleans())
def test_laying_over_follows_the_compositing_equation(seed: int, channels: int, is_picture: bool) -> None:
    front = cutout_of(6, 7, seed)
    behind = noise((6, 7, channels), seed + 1)
    if not is_picture:
        behind = np.ascontiguousarray(behind[0, 0])
    over = lay_over(front, behind)

    for row in range(6):
        for column in range(7):
            f, b = (
                front[row, column].astype(float),
                (behind[row, column] if is_picture else behind).astype(float),
            )
            f_alpha, b_alpha = f[3] / 255, (b[3] / 255 if channels == 4 else 1.0)
            alpha = f_alpha + b_alpha * (1 - f_alpha)
            assert abs(over[row, column, 3] - 255 * alpha) <= 1
            if over[row, column, 3] > 0:
                colour = (f[:3] * f_alpha + b[:3] * b_alpha * (1 - f_alpha)) / alpha
                assert np.abs(over[row, column, :3] - colour).max() <= 1


def test_a_shadow_is_black_and_lies_below_the_subject() -> None:
    cutout = np.zeros((200, 200, 4), np.uint8)
    cutout[50:150, 50:150] = (250, 10, 10, 255)
    shadowed = drop_shadow(cutout, Rectangle(50, 50, 150, 150), opacity=0.5)

    assert np.array_equal(shadowed[50:150, 50:150], cutout[50:150, 50:150])
    below, above = shadowed[151, 100], shadowed[48, 100]
    assert below[:3].tolist() == [0, 0, 0]
    assert 60 <= below[3] <= 128
    assert above[3] < below[3] / 2
    assert np.array_equal(drop_shadow(cutout, Rectangle(50, 50, 150, 150), opacity=0.0), cutout)


@pytest.mark.parametrize("size", [(30, 40), (60, 40), (10, 90), (31, 41)])
def test_a_background_covers_the_canvas(size: tuple[int, int]) -> None:
    covered = cover(photo(30, 40), *size)

    assert covered.shape == (*size, 3)


def test_a_background_is_cropped_equally_on_both_sides() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255

    assert (cover(picture, 10, 10) == 255).all()
    assert cover(picture, 10, 30) is picture


def test_a_blurred_background_keeps_its_colour_and_loses_its_edges() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[:, 150:] = 200
    soft = blur_backdrop(picture)

    assert soft.shape == picture.shape
    assert abs(float(soft.mean()) - 100) < 2
    assert np.abs(np.diff(soft[100, :, 0].astype(int))).max() < 20


def test_a_cutout_is_opaque_if_every_pixel_is() -> None:
    cutout = np.full((3, 3, 4), 255, np.uint8)
    assert is_opaque(cutout)

    cutout[1, 1, 3] = 254
    assert not is_opaque(cutout)


def covered_slowly(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale the whole picture and crop it afterwards."""
    own_height, own_width = picture.shape[:2]
    factor = max(height / own_height, width / own_width)
    new_height, new_width = max(height, round(own_height * factor)), max(width, round(own_width * factor))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    whole = cv2.resize(picture, (new_width, new_height), interpolation=interpolation)
    top, left = (new_height - height) // 2, (new_width - width) // 2
    return np.asarray(whole[top : top + height, left : left + width], np.uint8)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.integers(0, 99),
)
@examples(2)
def test_cropping_before_scaling_gives_the_same_pixels(
    own: tuple[int, int], canvas: tuple[int, int], seed: int
) -> None:
    picture = noise((*own, 3), seed)
    difference = cover(picture, *canvas).astype(int) - covered_slowly(picture, *canvas)

    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("own", "canvas"),
    [
        ((100, 1), (1, 2000)),
        ((1, 100), (2000, 1)),
        ((1, 16_384), (16_384, 1)),
        ((1, 16_384), (1000, 1000)),
        ((2, 3), (1200, 900)),
        ((1500, 2000), (100, 100)),
        ((1500, 2000), (1, 1600)),
        ((900, 1200), (1200, 1100)),
    ],
)
def test_covering_takes_memory_for_the_background_and_the_canvas_only(
    own: tuple[int, int], canvas: tuple[int, int]
) -> None:
    picture = noise((*own, 3))
    pixels = max(own[0] * own[1], canvas[0] * canvas[1])

    assert peak_bytes(lambda: cover(picture, *canvas)) <= 16 * pixels + SLACK_BYTES


def resized_at_once(cutout: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Scale the whole premultiplied picture, in double precision."""
    alpha = cutout[:, :, 3:] / 255
    premultiplied = np.concatenate([cutout[:, :, :3] * alpha, alpha], axis=2)
    interpolation = cv2.INTER_AREA if height * width < alpha.size else cv2.INTER_LINEAR
    scaled = cv2.resize(premultiplied, (width, height), interpolation=interpolation)
    opacity = scaled[:, :, 3:]
    colours = np.divide(scaled[:, :, :3], opacity, out=np.zeros_like(scaled[:, :, :3]), where=opacity > 1e-9)
    return np.concatenate([colours, 255 * opacity], axis=2)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 4), st.integers(0, 99))
@examples(2)
def test_strips_of_a_scaled_cutout_equal_those_of_the_whole(
    height: int, width: int, factor: float, seed: int
) -> None:
    cutout = cutout_of(height, width, seed)
    size = max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))
    actual, expected = resize_cutout(cutout, *size), resized_at_once(cutout, *size)
    is_visible = actual[:, :, 3] > 0

    assert np.abs(actual[:, :, 3] - expected[:, :, 3]).max() <= 0.51
    assert not is_visible.any() or np.abs(actual[is_visible] - expected[is_visible]).max() <= 0.6
    assert not actual[~is_visible].any()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.3, 0.83, 1.0, 1.9])
def test_composing_takes_few_bytes_a_pixel(factor: float) -> None:
    """Crop with margins, scale, shadow and a picture behind, on top of the cutout and that picture."""
    cutout = np.full((900, 1300, 4), 255, np.uint8)
    cutout[:40] = 0
    behind = noise((50, 900, 3))
    target = Rectangle(20, 30, 20 + int(1200 * factor), 30 + int(840 * factor))
    placement = Placement(target.bottom + 60, target.right + 50, Rectangle(10, 40, 1210, 880), target)

    def compose() -> object:
        placed = arrange(cutout, placement)
        shadowed = drop_shadow(placed, target, opacity=0.5)
        return lay_over(shadowed, cover(behind, *shadowed.shape[:2]))

    pixels = max(cutout.shape[0] * cutout.shape[1], placement.height * placement.width)

    assert peak_bytes(compose) <= 24 * pixels + SLACK_BYTES


@pytest.mark.parametrize("longest", [(900, 1200), (16_384, 30), (30, 16_384), (1, 2000), (1, 1)])
def test_every_step_can_be_cancelled_by_check(longest: tuple[int, int]) -> None:
    cutout = np.full((*longest, 4), 200, np.uint8)
    box = Rectangle(0, 0, longest[1], longest[0])

    def end() -> None:
        raise StopIteration

    calls = [
        lambda: resize_cutout(cutout, longest[0] + 1, longest[1] + 1, check=end),
        lambda: lay_over(cutout, np.array((1, 2, 3), np.uint8), check=end),
        lambda: drop_shadow(cutout, box, opacity=0.5, check=end),
        lambda: cover(photo(3, 5), *longest, check=end),
        lambda: blur_backdrop(np.ascontiguousarray(cutout[:, :, :3]), check=end),
    ]
    for call in calls:
        with pytest.raises(StopIteration):
            call()

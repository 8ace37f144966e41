"""Scaled rows of a picture, against loops over the whole picture."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.imaging.resample import enlarged_rows, rows_for, scaled_rows, strips_of
from tests.generated import examples
from tests.pictures import noise


def scaled(pixels: NDArray[np.uint8], length: int, axis: int) -> NDArray[np.float64]:
    """Scale one side: linearly between centres if it grows, else by averaging the covered area."""
    lines = np.moveaxis(pixels.astype(np.float64), axis, 0)
    computed = np.zeros((length, *lines.shape[1:]))
    step = len(lines) / length
    for new in range(length):
        if length >= len(lines):
            centre = min(max((new + 0.5) * step - 0.5, 0), len(lines) - 1)
            above = math.floor(centre)
            below = min(above + 1, len(lines) - 1)
            computed[new] = lines[above] * (1 - centre + above) + lines[below] * (centre - above)
            continue
        for old in range(len(lines)):
            covered = min(old + 1, (new + 1) * step) - max(old, new * step)
            computed[new] += lines[old] * max(0.0, covered) / step
    return np.moveaxis(computed, 0, axis)


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 99),
    st.floats(0, 0.99),
    st.floats(0, 0.99),
)
@examples(2)
def test_scaled_rows_equal_those_of_the_whole_scaled_picture(
    old: tuple[int, int], new: tuple[int, int], seed: int, begin: float, share: float
) -> None:
    pixels = noise((*old, 3), seed)
    requested = slice(
        int(begin * new[0]), int(begin * new[0]) + 1 + int(share * (new[0] - int(begin * new[0])))
    )
    rows = rows_for(requested, old_rows=old[0], new_rows=new[0])
    strip = pixels[rows].astype(np.float32)
    computed = scaled_rows(strip, requested, old=rows, old_rows=old[0], new_rows=new[0], width=new[1])
    expected = scaled(scaled(pixels, new[1], 1), new[0], 0)[requested]

    assert np.abs(computed - expected).max() < 0.05


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.floats(1, 9), st.floats(1, 9)),
    st.integers(0, 99),
)
def test_enlarged_rows_are_within_one_level_of_the_whole(
    old: tuple[int, int], factors: tuple[float, float], seed: int
) -> None:
    pixels = noise((*old, 3), seed)
    height, width = (round(side * factor) for side, factor in zip(old, factors, strict=True))
    requested = slice(height // 3, height)
    expected = scaled(scaled(pixels, width, 1), height, 0)[requested]

    assert np.abs(enlarged_rows(pixels, height, requested, width=width) - expected).max() <= 1.1


def test_strips_cover_all_rows_in_order() -> None:
    for height, row_values in ((1, 1), (100, 10), (1000, 10_000), (7, 10**9)):
        rows = [row for strip in strips_of(height, row_values) for row in range(strip.start, strip.stop)]
        assert rows == list(range(height))

"""A blur at a fraction of the size, against the Gaussian at full size in double precision."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.imaging.layout.blur import blur
from tests.peaks import peak_bytes
from tests.pictures import noise, photo

WITHIN = 3  # of 255
HARD_EDGES_WITHIN = 6
"""Of 255: small pictures of many hard edges; 4.1 was the largest of 1,500 random ones."""


def gaussian(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.float64]:
    """Blur at full size, along one axis and then the other, mirrored about the outermost pixels."""
    blurred = pixels.astype(np.float64)
    for axis in (0, 1):
        blurred = np.moveaxis(_blurred_rows(np.moveaxis(blurred, axis, 0), sigma), 0, axis)
    return blurred


def _blurred_rows(rows: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    reach = math.ceil(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    period = max(1, 2 * (len(rows) - 1))
    matrix = np.zeros((len(rows), len(rows)))
    for row in range(len(rows)):
        indices = np.arange(row - reach, row + reach + 1) % period
        np.add.at(
            matrix[row], np.where(indices >= len(rows), period - indices, indices), weights / weights.sum()
        )
    return np.tensordot(matrix, rows, axes=1)


def hard_edges(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Build an alpha of rectangles, many of which touch or nearly touch a border."""
    rng = np.random.default_rng(seed)
    alpha = np.zeros((height, width), np.uint8)
    for _ in range(5):
        top, left = (int(rng.integers(-side // 4 - 1, side)) for side in (height, width))
        down, right = (int(rng.integers(1, side + 2)) for side in (height, width))
        alpha[max(top, 0) : max(top + down, 0), max(left, 0) : max(left + right, 0)] ^= 255
    return alpha


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.5, 60), st.integers(0, 999))
def test_hard_edges_are_blurred_as_at_full_size(height: int, width: int, sigma: float, seed: int) -> None:
    alpha = hard_edges(height, width, seed)

    assert np.abs(blur(alpha, sigma) - gaussian(alpha, sigma)).max() <= HARD_EDGES_WITHIN


@pytest.mark.parametrize(
    ("size", "sigma"),
    [
        ((480, 640), 19.2),
        ((1, 2000), 60.0),
        ((2000, 1), 60.0),
        ((1, 1), 8.0),
        ((2, 900), 27.0),
        ((30, 1638), 49.1),
        ((701, 499), 21.0),
    ],
)
def test_photographs_of_any_shape_are_blurred_as_at_full_size(size: tuple[int, int], sigma: float) -> None:
    for picture in (photo(*size), noise((*size, 3)), hard_edges(*size, seed=1)):
        assert np.abs(blur(picture, sigma) - gaussian(picture, sigma)).max() <= WITHIN


def test_a_single_line_at_the_border_counts_once() -> None:
    """The outermost pixels are the mirror's axis: if mirrored too, the line would count twice."""
    alpha = np.zeros((300, 200), np.uint8)
    alpha[0] = alpha[:, -1] = 255

    assert np.abs(blur(alpha, 8.5) - gaussian(alpha, 8.5)).max() <= WITHIN


def test_the_work_does_not_grow_with_the_radius() -> None:
    """Measured by memory: any radius takes a few bytes a pixel, however narrow the picture is."""
    for size in ((1200, 1600), (300, 8000), (8000, 120)):
        picture = np.full((*size, 3), 7, np.uint8)
        for sigma in (10.0, 0.03 * max(size)):
            assert peak_bytes(lambda p=picture, s=sigma: blur(p, s)) <= 24 * size[0] * size[1] + 2**20


def test_check_is_called_between_the_steps() -> None:
    calls = []
    blur(photo(300, 400), 12.0, check=lambda: calls.append(1))

    assert len(calls) >= 3

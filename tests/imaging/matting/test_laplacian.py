import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from app.arrays import Mask, Rgb
from app.imaging.matting.laplacian import Laplacian, matting_laplacian
from tests.generated import examples
from tests.pictures import noise, photo


def levins_matrix(rgb: Rgb, epsilon: float) -> NDArray[np.float64]:
    """Build the whole matrix of the matting Laplacian, window by window, by equation 12 of the paper."""
    height, width = rgb.shape[:2]
    colours = rgb.reshape(-1, 3) / 255
    matrix = np.zeros((height * width, height * width))
    for top in range(height - 2):
        for left in range(width - 2):
            window = [(top + down) * width + left + right for down in range(3) for right in range(3)]
            centred = colours[window] - colours[window].mean(axis=0)
            covariance = centred.T @ centred / 9 + epsilon / 9 * np.eye(3)
            matrix[np.ix_(window, window)] += (
                np.eye(9) - (1 + centred @ np.linalg.inv(covariance) @ centred.T) / 9
            )
    return matrix


def built(rgb: Rgb, unknown: Mask, *, epsilon: float) -> Laplacian:
    laplacian = matting_laplacian(rgb, unknown, epsilon=epsilon, is_time_left=lambda: True)
    assert laplacian is not None
    return laplacian


@given(height=st.integers(3, 9), width=st.integers(3, 9), seed=st.integers(0, 99), share=st.floats(0.05, 1))
@examples(1 / 2)
def test_it_multiplies_like_levins_matrix_at_the_unknown_pixels(
    height: int, width: int, seed: int, share: float
) -> None:
    rgb, unknown = noise((height, width, 3), seed), noise((height, width), seed + 1) < 256 * share
    alpha = np.random.default_rng(seed).random(height * width, dtype=np.float32)
    expected = levins_matrix(rgb, 1e-5)
    actual = built(rgb, unknown, epsilon=1e-5)
    indices = np.flatnonzero(unknown)

    assert_allclose(actual.apply(alpha)[indices], (expected @ alpha)[indices], atol=2e-5)
    assert_allclose(actual.diagonal(alpha.size)[indices], np.diag(expected)[indices], atol=2e-5)


def test_the_cost_of_a_matte_linear_in_the_colours_is_zero() -> None:
    rgb = photo(20, 30)
    alpha = (0.2 + 0.5 * rgb[:, :, 0] / 255 - 0.1 * rgb[:, :, 2] / 255).astype(np.float32).ravel()
    residual = built(rgb, _all(20, 30), epsilon=1e-9).apply(alpha)

    assert_allclose(residual, 0, atol=1e-3)


def test_a_flat_picture_has_finite_windows() -> None:
    flat = np.full((5, 6, 3), 77, dtype=np.uint8)
    laplacian = built(flat, _all(5, 6), epsilon=1e-6)

    assert np.isfinite(laplacian.basis).all()
    assert_allclose(laplacian.apply(np.ones(30, dtype=np.float32)), 0, atol=1e-5)


@pytest.mark.parametrize("corner", [(0, 0), (0, 5), (4, 0), (4, 5)])
def test_only_windows_around_the_unknown_pixels_are_stored(corner: tuple[int, int]) -> None:
    unknown = np.zeros((5, 6), dtype=bool)
    unknown[corner] = True

    assert (9, 1) == built(noise((5, 6, 3)), unknown, epsilon=1e-6).pixels.shape


def test_it_takes_at_most_180_bytes_a_pixel() -> None:
    laplacian = built(noise((40, 50, 3)), _all(40, 50), epsilon=1e-6)

    assert 180 * 40 * 50 >= laplacian.pixels.nbytes + laplacian.basis.nbytes


@pytest.mark.parametrize("calls_allowed", [0, 1, 2])
def test_building_stops_when_time_is_up(calls_allowed: int) -> None:
    rgb, calls = noise((120, 120, 3)), itertools.count()

    assert (
        matting_laplacian(rgb, _all(120, 120), epsilon=1e-6, is_time_left=lambda: next(calls) < calls_allowed)
        is None
    )
    assert calls_allowed + 1 == next(calls)


def _all(height: int, width: int) -> Mask:
    return np.ones((height, width), dtype=bool)

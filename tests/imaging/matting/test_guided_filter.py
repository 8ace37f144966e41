import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from app.imaging.matting.guided_filter import fit_colour_model
from tests.peaks import peak_bytes
from tests.pictures import disc_alpha, noise, photo


def test_the_model_equals_that_of_a_naive_guided_filter() -> None:
    guide = noise((7, 9, 3)).astype(np.float32) / 255
    target = noise((7, 9), seed=1).astype(np.float32) / 255
    actual = fit_colour_model(guide, target, radius_px=2, epsilon=1e-3)

    assert_allclose(actual, _naive(guide, target, 2, 1e-3), rtol=1e-4, atol=1e-5)


def test_a_map_that_is_linear_in_the_colours_is_fitted_exactly() -> None:
    guide = noise((20, 20, 3)).astype(np.float32) / 255
    target = (guide @ np.array([0.5, -0.25, 0.125], dtype=np.float32) + np.float32(0.3)).astype(np.float32)
    actual = fit_colour_model(guide, target, radius_px=3, epsilon=1e-9)

    assert_allclose(actual, np.broadcast_to([0.5, -0.25, 0.125, 0.3], (20, 20, 4)), atol=1e-5)


def test_a_grey_picture_gives_finite_models() -> None:
    """Its covariance has rank one, and its determinant is lost in single precision."""
    grey = photo(60, 60).mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.float32) / 255
    actual = fit_colour_model(grey, disc_alpha(60, 60), radius_px=3, epsilon=1e-5)

    assert np.isfinite(actual).all()
    assert np.abs(actual).max() < 1e3


@pytest.mark.slow
@pytest.mark.parametrize(("size", "radius_px"), [((700, 900), 3), ((6000, 40), 9), ((400, 2000), 5)])
def test_strips_of_the_model_equal_those_of_the_whole(size: tuple[int, int], radius_px: int) -> None:
    """Compares with the filter on the flipped and the transposed picture, whose strips lie elsewhere."""
    guide, target = photo(*size).astype(np.float32) / 255, disc_alpha(*size, softness=0.2)
    model = fit_colour_model(guide, target, radius_px=radius_px, epsilon=1e-4)
    flipped = fit_colour_model(guide[::-1].copy(), target[::-1].copy(), radius_px=radius_px, epsilon=1e-4)[
        ::-1
    ]
    transposed = fit_colour_model(
        np.swapaxes(guide, 0, 1).copy(), target.T.copy(), radius_px=radius_px, epsilon=1e-4
    )

    assert_allclose(model, flipped, rtol=1e-4, atol=1e-5)
    assert_allclose(model, np.swapaxes(transposed, 0, 1), rtol=1e-4, atol=1e-5)
    assert (
        peak_bytes(lambda: fit_colour_model(guide, target, radius_px=radius_px, epsilon=1e-4))
        <= 16 * target.size + 48 * 2**20
    )


def _naive(
    guide: NDArray[np.float32], target: NDArray[np.float32], radius: int, epsilon: float
) -> NDArray[np.float64]:
    """Fit and average window by window, as in the paper, with mirrored borders."""
    height, width = target.shape
    pad = ((radius, radius), (radius, radius))
    colours = np.pad(guide.astype(np.float64), (*pad, (0, 0)), mode="symmetric")
    padded_target = np.pad(target.astype(np.float64), pad, mode="symmetric")
    side = 2 * radius + 1
    models = np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            window = colours[y : y + side, x : x + side].reshape(-1, 3)
            values = padded_target[y : y + side, x : x + side].ravel()
            covariance = np.cov(window.T, bias=True) + epsilon * np.eye(3)
            correlation = (window * values[:, None]).mean(0) - window.mean(0) * values.mean()
            slopes = np.linalg.solve(covariance, correlation)
            models[y, x] = [*slopes, values.mean() - slopes @ window.mean(0)]
    padded = np.pad(models, (*pad, (0, 0)), mode="symmetric")
    return np.array(
        [[padded[y : y + side, x : x + side].mean((0, 1)) for x in range(width)] for y in range(height)]
    )

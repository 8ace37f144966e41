import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.arrays import Rgb
from app.imaging.noise import estimate_noise
from tests.generated import examples
from tests.pictures import disc_alpha, flat


def with_noise(rgb: Rgb, sigma: float, seed: int = 0) -> Rgb:
    grain = np.random.default_rng(seed).normal(0, sigma, rgb.shape)
    return np.clip(np.rint(rgb + grain), 0, 255).astype(np.uint8)


def scene(height: int, width: int) -> Rgb:
    """Build a striped subject with a hard edge, in front of a horizontal gradient."""
    x = np.linspace(60, 180, width)[None, :].repeat(height, axis=0)
    stripes = 120 + 40 * (np.arange(height)[:, None] // 3 % 2)
    alpha = disc_alpha(height, width, softness=0.001)
    return np.rint(alpha * stripes + (1 - alpha) * x)[:, :, None].repeat(3, axis=2).astype(np.uint8)


@given(sigma=st.floats(1, 12), seed=st.integers(0, 99))
@examples(1 / 4)
def test_the_noise_of_a_scene_is_estimated(sigma: float, seed: int) -> None:
    estimated = estimate_noise(with_noise(scene(400, 500), sigma, seed))

    assert 0.8 * sigma <= estimated <= 1.1 * sigma


def test_slopes_edges_and_stripes_do_not_count_as_noise() -> None:
    assert 0.35 > estimate_noise(scene(400, 500))


@pytest.mark.parametrize("level", [0, 255])
def test_clipped_noise_counts_as_none(level: int) -> None:
    assert 0 == estimate_noise(with_noise(flat(200, 200, (level, level, level)), 5))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 400), (400, 15)])
def test_a_picture_smaller_than_a_block_counts_as_clean(height: int, width: int) -> None:
    assert 0 == estimate_noise(with_noise(flat(height, width, (120, 120, 120)), 5))


def test_a_single_block_is_enough_for_an_estimate() -> None:
    assert 3 < estimate_noise(with_noise(flat(16, 16, (120, 120, 120)), 5)) < 7

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from app.arrays import AlphaMatte, Rgb
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.saliency import resize_saliency
from tests.composites import composite
from tests.generated import examples
from tests.imaging.matting.maps import KINDS, saliency_map
from tests.imaging.matting.whole_picture import whole_foreground
from tests.pictures import disc_alpha, flat, noise


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("height", "width", "softness"), [(120, 160, 0.08), (600, 800, 0.05), (900, 700, 0.02)]
)
def test_a_composites_foreground_colours_are_recovered(
    seed: int, height: int, width: int, softness: float
) -> None:
    """The error, weighted by alpha, falls to less than a fifth of the mixture's own."""
    truth, mixed, alpha = _scene(height, width, seed=seed, softness=softness)
    is_mixed = (alpha > 0) & (alpha < 1)

    def error(colours: Rgb) -> float:
        difference = np.abs(colours.astype(float) - truth).mean(axis=2)
        return float((alpha * difference)[is_mixed].sum())

    assert error(estimate_foreground(mixed, alpha)) < 0.2 * error(mixed)


def test_colours_are_unchanged_where_alpha_is_0_or_1() -> None:
    _, mixed, alpha = _scene(200, 300, seed=0, softness=0.1)
    is_sure = (alpha == 0) | (alpha == 1)
    actual = estimate_foreground(mixed, alpha)

    assert_array_equal(actual[is_sure], mixed[is_sure])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_matte_of_one_value_gives_finite_colours(value: float) -> None:
    rgb = noise((40, 50, 3))
    actual = estimate_foreground(rgb, np.full((40, 50), value, dtype=np.float32))

    assert (rgb.shape, np.uint8) == (actual.shape, actual.dtype)


def test_a_flat_picture_stays_flat() -> None:
    rgb = flat(90, 120, (40, 80, 160))
    actual = estimate_foreground(rgb, disc_alpha(90, 120, softness=0.2))

    assert np.abs(actual.astype(int) - rgb).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_tiny_pictures_are_accepted(height: int, width: int) -> None:
    actual = estimate_foreground(noise((height, width, 3)), np.full((height, width), 0.5, dtype=np.float32))

    assert (height, width, 3) == actual.shape


@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(KINDS),
    height=st.one_of(st.integers(1, 9), st.integers(1, 1500)),
    width=st.one_of(st.integers(1, 9), st.integers(1, 1500)),
)
@examples(1 / 2)
def test_the_colours_are_those_computed_for_the_whole_picture(
    seed: int, kind: str, height: int, width: int
) -> None:
    rgb = noise((height, width, 3), seed=seed)
    alpha = np.clip(resize_saliency(saliency_map(kind, 320, 320, seed=seed), height, width), 0, 1)
    actual, expected = estimate_foreground(rgb, alpha), whole_foreground(rgb, alpha)

    assert np.abs(actual.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1, 4000), (4000, 1), (1601, 1203), (1536, 2048)])
def test_large_and_narrow_pictures_have_the_colours_of_the_whole_picture(height: int, width: int) -> None:
    scene = composite(height * width / 1e6, seed=1)
    rgb, alpha = (cv2.resize(pixels, (width, height)) for pixels in (scene.rgb, scene.alpha))
    actual, expected = estimate_foreground(rgb, alpha), whole_foreground(rgb, alpha)

    assert np.abs(actual.astype(int) - expected).max() <= 1


def test_neither_argument_is_modified() -> None:
    _, mixed, alpha = _scene(60, 80, seed=0, softness=0.1)
    before = mixed.copy(), alpha.copy()
    estimate_foreground(mixed, alpha)

    np.testing.assert_array_equal(mixed, before[0])
    np.testing.assert_array_equal(alpha, before[1])


def test_arrays_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        estimate_foreground(flat(4, 4), np.zeros((4, 5), dtype=np.float32))


def _scene(height: int, width: int, *, seed: int, softness: float) -> tuple[Rgb, Rgb, AlphaMatte]:
    """Build (true subject colours, their mixture, alpha): a light subject on a dark background."""
    rng = np.random.default_rng(seed)

    def cloudy(lowest: int, highest: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        clouds = cv2.resize(
            rng.uniform(lowest, highest, (5, 5, 3)), (width, height), interpolation=cv2.INTER_LINEAR
        )
        return np.clip(clouds + rng.normal(0, 3, (height, width, 3)), 0, 255)

    subject, background = cloudy(130, 250), cloudy(5, 120)
    alpha = disc_alpha(height, width, softness=softness)
    mixed = alpha[:, :, None] * subject + (1 - alpha[:, :, None]) * background
    return np.rint(subject).astype(np.uint8), np.rint(mixed).astype(np.uint8), alpha

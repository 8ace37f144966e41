from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from app.arrays import AlphaMatte, Rgb, SaliencyMap
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.soft_band import SURE_BACKGROUND, SURE_FOREGROUND
from tests.composites import composite, ideal_map
from tests.generated import examples
from tests.imaging.matting.maps import KINDS, saliency_map
from tests.imaging.matting.whole_picture import whole_alpha
from tests.pictures import disc_alpha, flat, noise, photo

NAMES = ("GT01", "GT05", "GT10", "GT16", "GT22", "GT26")


def test_a_sharp_edge_is_recovered_from_a_blurred_map() -> None:
    truth = disc_alpha(600, 800, softness=0.002)
    rgb = _composite(truth, (220, 120, 40), (20, 60, 90))
    saliency = _ideal_map(truth)
    refined_error = np.abs(refine_alpha(rgb, saliency) - truth).sum()
    bilinear_error = np.abs(resize_saliency(saliency, 600, 800) - truth).sum()

    assert refined_error < bilinear_error / 4


def test_outside_the_soft_band_the_matte_is_exactly_0_or_1() -> None:
    saliency = _ideal_map(disc_alpha(300, 400))
    enlarged = resize_saliency(saliency, 300, 400)
    actual = refine_alpha(photo(300, 400), saliency)

    assert (actual[enlarged < SURE_BACKGROUND] == 0).all()
    assert (actual[enlarged > SURE_FOREGROUND] == 1).all()


def test_a_picture_without_edges_keeps_the_map() -> None:
    """A flat picture's colours cannot fit the map; three box filters smooth it within three radii."""
    saliency = np.tile(np.linspace(0.2, 0.8, 320, dtype=np.float32), (320, 1))
    actual = refine_alpha(flat(320, 320), saliency)

    assert_allclose(actual, saliency, atol=0.02)


@given(seed=st.integers(0, 1000), height=st.integers(1, 90), width=st.integers(1, 90))
@examples(1 / 2)
def test_the_matte_has_no_hole_or_speck_that_the_map_lacks(seed: int, height: int, width: int) -> None:
    """Within two windows, the matte stays between the map's lowest and highest value, or is clamped."""
    rng = np.random.default_rng(seed)
    saliency = cv2.GaussianBlur(rng.random((40, 40)).astype(np.float32), (0, 0), 2)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    actual = refine_alpha(rgb, saliency)
    enlarged = resize_saliency(saliency, height, width)
    window = np.ones((5, 5), dtype=np.uint8)
    lowest, highest = cv2.erode(enlarged, window) - 1e-4, cv2.dilate(enlarged, window) + 1e-4

    assert (
        actual >= np.where(enlarged > SURE_FOREGROUND, 1, np.where(enlarged < SURE_BACKGROUND, 0, lowest))
    ).all()
    assert (
        actual <= np.where(enlarged > SURE_FOREGROUND, 1, np.where(enlarged < SURE_BACKGROUND, 0, highest))
    ).all()
    assert (np.float32, (height, width)) == (actual.dtype, actual.shape)


def test_an_empty_map_gives_an_empty_matte() -> None:
    actual = refine_alpha(photo(50, 60), np.zeros((320, 320), dtype=np.float32))

    assert_array_equal(actual, np.zeros((50, 60)))


def test_tiles_leave_no_seam() -> None:
    """Rotated by 180 degrees, the tiles lie elsewhere; sides are multiples of the scale, so grids agree."""
    rgb, saliency = photo(660, 960), _ideal_map(disc_alpha(660, 960, centre=(0.45, 0.55)))
    straight = refine_alpha(rgb, saliency)
    rotated = refine_alpha(np.ascontiguousarray(rgb[::-1, ::-1]), np.ascontiguousarray(saliency[::-1, ::-1]))

    assert_allclose(rotated[::-1, ::-1], straight, atol=1e-4)


@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(KINDS),
    height=st.one_of(st.integers(1, 9), st.integers(1, 1100)),
    width=st.one_of(st.integers(1, 9), st.integers(1, 1100)),
    map_size=st.sampled_from([(320, 320), (33, 47), (1, 1), (700, 900)]),
)
@examples(1 / 2)
def test_the_matte_is_the_one_computed_for_the_whole_picture(
    seed: int, kind: str, height: int, width: int, map_size: tuple[int, int]
) -> None:
    saliency = saliency_map(kind, *map_size, seed=seed)
    rgb = noise((height, width, 3), seed=seed)
    _assert_same(refine_alpha(rgb, saliency), whole_alpha(rgb, saliency), saliency)


@pytest.mark.parametrize(("height", "width"), [(1, 2600), (2600, 1), (1601, 1203), (1920, 1280)])
def test_large_and_narrow_pictures_have_the_matte_of_the_whole_picture(height: int, width: int) -> None:
    scene = composite(height * width / 1e6, seed=1)
    rgb, alpha = (cv2.resize(pixels, (width, height)) for pixels in (scene.rgb, scene.alpha))
    saliency = np.clip(ideal_map(alpha), 0, 1)
    _assert_same(refine_alpha(rgb, saliency), whole_alpha(rgb, saliency), saliency)


def _assert_same(actual: AlphaMatte, expected: AlphaMatte, saliency: SaliencyMap) -> None:
    """Compare to a level of 255; at the band's limits a rounding may decide on which side a pixel is."""
    enlarged = resize_saliency(saliency, *actual.shape)
    is_decided = np.minimum(np.abs(enlarged - SURE_BACKGROUND), np.abs(enlarged - SURE_FOREGROUND)) > 1e-5

    assert np.abs(actual - expected)[is_decided].max(initial=0) <= 1 / 255


@pytest.mark.parametrize("name", NAMES)
def test_true_mattes_are_recovered_far_better_than_by_resampling(shared_data: Path, name: str) -> None:
    """The map is ideal: the true matte at 320 × 320, blurred by a pixel; errors of the unknown region."""
    rgb, truth, is_unknown = _matting_scene(shared_data / "alphamatting-18", name)
    saliency = _ideal_map(truth)
    size = truth.shape[::-1]

    def error(matte: AlphaMatte) -> float:
        return float(np.abs(matte - truth)[is_unknown].sum())

    bilinear = error(cv2.resize(saliency, size, interpolation=cv2.INTER_LINEAR))
    lanczos = error(np.clip(cv2.resize(saliency, size, interpolation=cv2.INTER_LANCZOS4), 0, 1))

    assert error(refine_alpha(rgb, saliency)) < 0.75 * min(bilinear, lanczos)


def _ideal_map(truth: AlphaMatte) -> SaliencyMap:
    shrunk = cv2.resize(truth, (320, 320), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(shrunk, (0, 0), 1), dtype=np.float32)


def _composite(alpha: AlphaMatte, subject: tuple[int, int, int], background: tuple[int, int, int]) -> Rgb:
    opacity = alpha[:, :, None]
    mixed = opacity * np.array(subject) + (1 - opacity) * np.array(background)
    return np.rint(mixed).astype(np.uint8)


def _matting_scene(folder: Path, name: str) -> tuple[Rgb, AlphaMatte, AlphaMatte]:
    rgb = cv2.cvtColor(cv2.imread(str(folder / "images" / f"{name}.png")), cv2.COLOR_BGR2RGB)
    truth = cv2.imread(str(folder / "alphas" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) / np.float32(255)
    trimap = cv2.imread(str(folder / "trimaps" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    return rgb, truth, trimap == 128


@pytest.mark.parametrize("side", [1024, 2048])
def test_the_map_of_a_large_network_is_not_made_softer(side: int) -> None:
    height = width = 2048
    alpha = disc_alpha(height, width)
    colours = np.array([190, 120, 60]) * alpha[..., None] + np.array([90, 110, 150]) * (1 - alpha[..., None])
    saliency = resize_saliency(alpha, side, side)
    matte = refine_alpha(colours.astype(np.uint8), saliency)
    enlarged = resize_saliency(saliency, height, width)
    soft = [np.count_nonzero((each > 0.02) & (each < 0.98)) for each in (matte, enlarged)]

    assert soft[0] <= soft[1]

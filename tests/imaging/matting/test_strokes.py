"""Strokes: what is painted is obeyed exactly, its region follows, and nothing else changes."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from app.arrays import AlphaMatte, Rgb, Trimap
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.strokes import MAX_SIDE_PX, REACH, correct_alpha, keep_far
from tests.composites import composite, ideal_map
from tests.generated import examples

HEIGHT, WIDTH = 150, 200


def corrected(rgb: Rgb, alpha: AlphaMatte, painted: Trimap) -> AlphaMatte:
    return correct_alpha(rgb, alpha, painted, is_time_left=lambda: True).alpha


def unpainted(height: int = HEIGHT, width: int = WIDTH) -> Trimap:
    return np.full((height, width), 128, np.uint8)


def dotted(x: int, y: int, value: int, radius: int = 5, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Trimap:
    painted = unpainted(*shape)
    cv2.circle(painted, (x, y), radius, value, -1)
    return painted


def far_from(painted: Trimap) -> np.ndarray:
    """Return the pixels farther than a quarter of the shorter side from all that is painted."""
    distance = cv2.distanceTransform((painted == 128).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance > REACH * min(painted.shape))


def two_patches(seed: int = 0) -> tuple[Rgb, np.ndarray, np.ndarray]:
    """Return a noisy grey picture with a red and a blue patch side by side, and where they are."""
    red, blue = np.zeros((2, HEIGHT, WIDTH), bool)
    red[55:95, 70:100], blue[55:95, 100:130] = True, True
    rgb = np.full((HEIGHT, WIDTH, 3), 128.0)
    rgb[red], rgb[blue] = (200, 60, 50), (50, 70, 190)
    noise = np.random.default_rng(seed).normal(0, 2, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8), red, blue


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def shrunk(mask: np.ndarray) -> np.ndarray:
    """Return a mask without its outer three pixels."""
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)), bool)


def test_a_keep_stroke_takes_its_whole_patch_and_stops_at_its_edges() -> None:
    rgb, red, blue = two_patches()
    alpha = corrected(rgb, np.zeros(red.shape, np.float32), dotted(85, 75, 255))

    assert overlap(alpha >= 0.5, red) > 0.9
    assert alpha[shrunk(red)].min() > 0.95
    assert alpha[shrunk(blue)].max() < 0.05


def test_a_remove_stroke_takes_its_whole_patch_and_stops_at_its_edges() -> None:
    rgb, red, blue = two_patches()
    alpha = corrected(rgb, (red | blue).astype(np.float32), dotted(115, 75, 0))

    assert overlap(alpha >= 0.5, red) > 0.9
    assert alpha[shrunk(blue)].max() < 0.05
    assert alpha[shrunk(red)].min() > 0.95


def test_a_patch_of_the_same_colour_that_is_not_connected_stays() -> None:
    rgb, red, _ = two_patches()
    rgb[55:95, 100:130] = 128
    other = np.zeros_like(red)
    other[55:95, 104:120] = True
    rgb[other] = (200, 60, 50)
    rgb[:, 100:104] = (20, 200, 30)
    alpha = corrected(rgb, np.zeros(red.shape, np.float32), dotted(85, 75, 255))

    assert alpha[shrunk(red)].min() > 0.95
    assert alpha[shrunk(other)].max() < 0.05


def test_strokes_of_both_kinds_divide_what_looks_different() -> None:
    rgb, red, blue = two_patches()
    painted = np.where(dotted(85, 75, 255) == 255, np.uint8(255), dotted(115, 75, 0))
    undecided = np.where(red, np.float32(0.4), np.where(blue, np.float32(0.6), np.float32(0)))
    alpha = corrected(rgb, undecided, painted)

    assert overlap(alpha >= 0.5, red) > 0.9
    assert alpha[shrunk(blue)].mean() < 0.05


@given(st.integers(0, 10**6), st.sampled_from([(90, 120), (47, 300), (260, 255), (5, 7), (1, 1)]))
@examples(0.3)
def test_painted_pixels_are_exact_and_far_pixels_unchanged(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    rgb = np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    alpha = np.asarray(cv2.resize(rng.uniform(-0.5, 1.5, (3, 4)), shape[::-1]), np.float32).clip(0, 1)
    painted = unpainted(*shape)
    for value in (255, 0, 255):
        start, end = (tuple(int(rng.integers(side)) for side in shape[::-1]) for _ in range(2))
        cv2.line(painted, start, end, value, int(rng.integers(1, 9)))
    before = alpha.copy()
    after = corrected(rgb, alpha, painted)
    far = far_from(painted)

    assert_array_equal(before, alpha)
    assert (after[painted == 255] == 1).all()
    assert (after[painted == 0] == 0).all()
    assert_array_equal(before[far], after[far])
    assert (after.min(), after.max()) >= (0, 0)
    assert after.max() <= 1


def test_a_large_picture_is_corrected_like_a_small_one() -> None:
    rgb, red, _ = two_patches()
    large = np.asarray(cv2.resize(rgb, (5 * WIDTH, 5 * HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    painted = dotted(425, 375, 255, 25, (5 * HEIGHT, 5 * WIDTH))
    alpha = corrected(large, np.zeros(painted.shape, np.float32), painted)

    assert max(painted.shape) > MAX_SIDE_PX
    assert np.mean((alpha[2::5, 2::5] >= 0.5) != red) < 0.01


@pytest.mark.parametrize("value", [255, 0])
def test_a_stroke_on_what_is_right_changes_only_the_painted_pixels(value: int) -> None:
    """So the soft edges of hair around it stay as they are."""
    scene = composite(0.2, seed=3)
    alpha = refine_alpha(scene.rgb, ideal_map(scene.alpha))
    inside = cv2.distanceTransform((alpha == value // 255).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    painted = dotted(int(x), int(y), value, 8, alpha.shape)

    assert_array_equal(alpha, corrected(scene.rgb, alpha, painted))


def test_a_keep_stroke_lowers_nothing_and_a_remove_stroke_raises_nothing() -> None:
    scene = composite(0.1, seed=5)
    alpha = refine_alpha(scene.rgb, ideal_map(scene.alpha))
    height, width = alpha.shape
    kept = corrected(scene.rgb, alpha, dotted(width // 5, height // 3, 255, 9, alpha.shape))
    removed = corrected(scene.rgb, alpha, dotted(width // 2, height // 2, 0, 9, alpha.shape))

    assert (kept >= alpha).all()
    assert kept.sum() > alpha.sum()
    assert (removed <= alpha).all()
    assert removed.sum() < alpha.sum()


def test_a_removed_patch_leaves_the_soft_edge_of_its_neighbour() -> None:
    """The hair of a subject stays, as true as before, when a patch next to it is removed."""
    scene = composite(0.2, seed=7)
    alpha = scene.alpha.copy()
    patch = np.zeros(alpha.shape, bool)
    patch[10:50, 10:60] = True
    rgb = scene.rgb.copy()
    rgb[patch] = (250, 240, 20)
    alpha[patch] = 1
    after = corrected(rgb, alpha, dotted(35, 30, 0, 6, alpha.shape))
    soft = (scene.alpha > 0.02) & (scene.alpha < 0.98) & ~patch

    assert after[patch].mean() < 0.05
    assert np.abs(after - scene.alpha)[soft].mean() < 0.01


def test_without_time_nothing_follows_the_stroke() -> None:
    rgb, red, _ = two_patches()
    painted = dotted(85, 75, 255)
    result = correct_alpha(rgb, np.zeros(red.shape, np.float32), painted, is_time_left=lambda: False)

    assert not result.is_complete
    assert (result.alpha[painted == 255] == 1).all()
    assert not (result.alpha > 0)[cv2.dilate(painted, np.ones((9, 9), np.uint8)) == 128].any()


def test_an_exception_of_a_check_ends_the_work() -> None:
    rgb, red, _ = two_patches()

    def left() -> Callable[[], None]:
        calls = iter(range(3))
        return lambda: next(calls) and None

    with pytest.raises(StopIteration):
        correct_alpha(rgb, red.astype(np.float32), dotted(85, 75, 0), is_time_left=lambda: True, check=left())


def test_far_colours_are_those_before() -> None:
    before, after = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.ones((HEIGHT, WIDTH, 3), np.uint8)
    painted = dotted(30, 30, 255)
    merged = keep_far(after, before, painted)

    assert (merged[far_from(painted)] == 0).all()
    assert (merged[painted == 255] == 1).all()
    assert 0.1 < merged.mean() < 0.5

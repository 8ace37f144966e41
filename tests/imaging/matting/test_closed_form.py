import itertools
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.arrays import Rgb, SaliencyMap
from app.imaging.formats.sniff import Header
from app.imaging.matting.closed_form import _EPSILON, _GUESS_WEIGHT, MAX_PX, solve_alpha
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.soft_band import SURE_BACKGROUND, SURE_FOREGROUND
from app.options import CutoutOptions
from app.pipeline.footprint import footprint
from tests.composites import composite, ideal_map
from tests.imaging.matting.test_laplacian import levins_matrix
from tests.pictures import disc_alpha, noise, photo


def always() -> bool:
    return True


def test_the_matte_is_the_minimum_that_a_dense_solver_finds() -> None:
    rgb, saliency = photo(14, 17), disc_alpha(14, 17, softness=0.6)
    guess = refine_alpha(rgb, saliency)
    enlarged = resize_saliency(saliency, 14, 17)
    unknown = ((enlarged >= SURE_BACKGROUND) & (enlarged <= SURE_FOREGROUND)).ravel()
    matrix = levins_matrix(rgb, _EPSILON)
    residual = -(matrix @ guess.ravel())[unknown]
    change = np.linalg.solve(
        matrix[np.ix_(unknown, unknown)] + _GUESS_WEIGHT * np.eye(unknown.sum()), residual
    )
    expected = guess.ravel().copy()
    expected[unknown] = np.clip(expected[unknown] + change, 0, 1)

    assert 50 < unknown.sum()
    assert_allclose(solve_alpha(rgb, saliency, is_time_left=always).alpha.ravel(), expected, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("megapixels", [0.3, 1.7])
def test_the_solved_matte_is_nearer_to_the_truth_than_the_fast_one(megapixels: float) -> None:
    """At 1.7 megapixels the picture is solved at half its size and the matte upsampled."""
    scene = composite(megapixels, seed=1)
    saliency = np.clip(ideal_map(scene.alpha), 0, 1)
    enlarged = resize_saliency(saliency, *scene.alpha.shape)
    band = (enlarged > 0) & (enlarged < 1)
    solved = solve_alpha(scene.rgb, saliency, is_time_left=always)
    fast = refine_alpha(scene.rgb, saliency)
    errors = [float(np.abs(alpha - scene.alpha)[band].mean()) for alpha in (solved.alpha, fast)]

    assert solved.is_complete
    assert errors[0] < 0.95 * errors[1]


@pytest.mark.slow
@pytest.mark.parametrize("megapixels", [0.2, 1.7])
def test_the_solved_matte_is_exactly_0_or_1_outside_the_soft_band(megapixels: float) -> None:
    scene = composite(megapixels, seed=2)
    saliency = np.clip(ideal_map(scene.alpha), 0, 1)
    alpha = solve_alpha(scene.rgb, saliency, is_time_left=always).alpha
    enlarged = resize_saliency(saliency, *scene.alpha.shape)

    assert 0 == alpha[enlarged < SURE_BACKGROUND].max(initial=0)
    assert 1 == alpha[enlarged > SURE_FOREGROUND].min(initial=1)
    assert (np.float32, 0.0, 1.0) == (alpha.dtype, alpha.min(), alpha.max())


@pytest.mark.parametrize("calls_allowed", [0, 1, 5])
def test_the_solver_stops_when_time_is_up_and_reports_an_incomplete_matte(calls_allowed: int) -> None:
    rgb, saliency = photo(60, 80), disc_alpha(60, 80, softness=0.4)
    calls = itertools.count()
    solved = solve_alpha(rgb, saliency, is_time_left=lambda: next(calls) < calls_allowed)

    assert not solved.is_complete
    assert calls_allowed + 1 == next(calls)


def test_without_any_time_the_result_is_the_fast_matte() -> None:
    rgb, saliency = photo(60, 80), disc_alpha(60, 80, softness=0.4)

    assert_array_equal(
        refine_alpha(rgb, saliency), solve_alpha(rgb, saliency, is_time_left=lambda: False).alpha
    )


@pytest.mark.parametrize(
    ("rgb", "saliency"),
    [
        (noise((30, 40, 3)), np.zeros((20, 20), dtype=np.float32)),
        (noise((30, 40, 3)), np.ones((20, 20), dtype=np.float32)),
        (noise((2, 40, 3)), np.full((20, 20), 0.5, dtype=np.float32)),
        (noise((40, 1, 3)), np.full((20, 20), 0.5, dtype=np.float32)),
    ],
    ids=["no subject", "no background", "too low", "too narrow"],
)
def test_with_nothing_to_solve_the_result_is_the_fast_matte(rgb: Rgb, saliency: SaliencyMap) -> None:
    solved = solve_alpha(rgb, saliency, is_time_left=always)

    assert solved.is_complete
    assert_array_equal(refine_alpha(rgb, saliency), solved.alpha)


@pytest.mark.slow
def test_the_footprint_covers_a_solve_of_an_entirely_uncertain_map() -> None:
    height, width = 800, MAX_PX // 800
    rgb = noise((height, width, 3))
    tracemalloc.start()
    calls, calls_allowed = (
        itertools.count(),
        4 + height * width // 4096,
    )  # the whole construction, a part of the solution
    solve_alpha(
        rgb, np.full((320, 320), 0.5, dtype=np.float32), is_time_left=lambda: next(calls) < calls_allowed
    )
    assert calls_allowed < next(calls)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    photograph = Header("jpeg", width, height, "image/jpeg")
    counted = footprint(photograph, CutoutOptions(matting="hq"), limit_px=height * width)
    assert counted.memory_bytes > peak_bytes

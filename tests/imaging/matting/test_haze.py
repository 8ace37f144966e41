from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from app.arrays import Rgb, SaliencyMap
from app.imaging.matting.haze import remove_haze
from app.imaging.matting.saliency import resize_saliency
from tests.composites import composite, ideal_map
from tests.generated import examples
from tests.pictures import disc_alpha, noise

SIDE = 160
MIDDLE = np.s_[70:90, 70:90]
CORNER = np.s_[8:32, 8:32]


def scene(side: int = SIDE) -> tuple[SaliencyMap, Rgb]:
    """A disc that the map is sure of, before a plain background, on a picture with noise."""
    rgb = (noise((side, side, 3)) // 8).astype(np.uint8)
    saliency = disc_alpha(side, side, radius=0.3, softness=0.03)
    rgb[saliency > 0.5] += np.uint8(180)
    return saliency, rgb


def test_a_ghost_far_from_the_subject_vanishes() -> None:
    saliency, rgb = scene()
    saliency[CORNER] = 0.6
    decided = remove_haze(saliency, rgb)

    assert 0 == decided[CORNER].max()


def test_a_see_through_body_becomes_solid() -> None:
    saliency, rgb = scene()
    saliency[MIDDLE] = 0.4
    decided = remove_haze(saliency, rgb)

    assert 1 == decided[MIDDLE].min()


def test_a_hole_that_the_map_is_sure_of_stays() -> None:
    saliency, rgb = scene()
    saliency[MIDDLE] = 0
    rgb[MIDDLE] -= np.uint8(180)

    assert 0 == remove_haze(saliency, rgb)[MIDDLE].max()


def test_values_near_the_contour_stay() -> None:
    saliency, rgb = scene()
    decided = remove_haze(saliency, rgb)
    edge = (saliency > 0.2) & (saliency < 0.8)

    assert edge.any()
    assert_array_equal(saliency[edge], decided[edge])


def test_a_map_with_nothing_but_a_sharp_edge_is_decided_without_the_colours() -> None:
    """Its pixels between the sure ones are a strip that is no wider than four pixels."""
    saliency, rgb = scene()
    is_unsure = (saliency >= 0.05) & (saliency <= 0.9)

    assert is_unsure.any()
    assert_array_equal(remove_haze(saliency, rgb), remove_haze(saliency, noise(rgb.shape)))


def test_an_unsure_region_is_decided_by_the_colours() -> None:
    saliency, rgb = scene()
    saliency[12:32, 70:90] = 0.6  # joined to the disc, and of the background's colour
    in_subjects_colour = rgb.copy()
    in_subjects_colour[12:32, 70:90] += np.uint8(180)

    assert 0 == remove_haze(saliency, rgb)[18:28, 76:84].max()
    assert 1 == remove_haze(saliency, in_subjects_colour)[18:28, 76:84].min()


def test_hair_that_the_colours_explain_stays() -> None:
    """Its strands are longer than the band is wide."""
    saliency = np.clip(ideal_map(composite(0.3, seed=1).alpha), 0, 1)
    colours = np.array([200, 120, 60]) * saliency[:, :, None] + 40
    dark_hair = np.clip(colours + noise(colours.shape) / 64, 0, 255).astype(np.uint8)
    grey = np.full_like(dark_hair, 128)

    assert 1e-4 >= np.abs(remove_haze(saliency, dark_hair) - saliency).mean()
    assert 5e-3 <= np.abs(remove_haze(saliency, grey) - saliency).mean()


def net(period: int, height: float) -> SaliencyMap:
    """A disc that is sure at its rim; inside it are threads that are higher than the gaps by ``height``."""
    saliency = disc_alpha(320, 320, radius=0.4, softness=0.01)
    y, x = np.indices(saliency.shape)
    threads = np.float32(0.5 + height / 2) - np.float32(height) * ((x % period > 0) & (y % period > 0))
    return np.where(disc_alpha(320, 320, radius=0.33) > 0.5, threads, saliency).astype(np.float32)


def height_of_threads(saliency: SaliencyMap, row: int, column: int) -> float:
    """The sum of closing minus opening around a pixel, over the soft pixels and 300 more, by plain loops."""

    def extreme(choose: Callable[[NDArray[np.float32]], float], plane: SaliencyMap) -> SaliencyMap:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, 1, mode="edge"), (3, 3))
        return np.array([[choose(window) for window in line] for line in windows], np.float32)

    part = saliency[row - 32 : row + 33, column - 32 : column + 33]
    closed = extreme(np.min, extreme(np.max, part))
    opened = extreme(np.max, extreme(np.min, part))
    inner = np.s_[2:-2, 2:-2]
    is_soft = ((part > 0.05) & (part < 0.95))[inner]
    return float((closed - opened)[inner][is_soft].sum() / (is_soft.sum() + 300))


@pytest.mark.parametrize("period", [3, 4, 6])
@pytest.mark.parametrize(("height", "stays"), [(0.01, False), (0.4, True)], ids=["haze", "net"])
def test_a_net_stays_although_no_colour_explains_it(period: int, height: float, stays: bool) -> None:
    saliency = net(period, height)
    decided = remove_haze(saliency, noise((*saliency.shape, 3)))
    middle = np.s_[150:170, 150:170]

    assert stays == (height_of_threads(saliency, 160, 160) >= 0.04)
    assert stays == (height_of_threads(saliency, 160, 160) >= 0.03)
    assert stays == bool(np.abs(decided[middle] - saliency[middle]).max() < 0.01)


def test_a_ghost_far_from_a_net_vanishes() -> None:
    saliency = net(4, 0.4)
    saliency[4:28, 4:28] = 0.6
    decided = remove_haze(saliency, noise((*saliency.shape, 3)))

    assert 0 == decided[8:24, 8:24].max()
    assert_array_equal(saliency[155:165, 155:165], decided[155:165, 155:165])


def test_a_picture_has_one_result_on_all_threads() -> None:
    """Whatever was drawn from OpenCV's generators before."""
    saliency, rgb = scene()
    saliency[:, SIDE // 2 :] *= 0.6
    rgb = noise(rgb.shape)

    def decided(seed: int) -> SaliencyMap:
        cv2.setRNGSeed(seed)
        cv2.randu(np.empty((seed + 1, 5)), 0, 1)
        return remove_haze(saliency, rgb)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(decided, range(6)))
    for result in results:
        assert_array_equal(decided(9), result)


@pytest.mark.parametrize("side", [640, 1000, 2048])
def test_a_finer_map_becomes_no_softer(side: int) -> None:
    """A thread that is too thin for the coarse decision stays, and so does the sharp edge."""
    saliency = disc_alpha(side, side, radius=0.3, softness=4 / side)
    saliency[side // 20 : side // 20 + 2] = 1
    _, rgb = scene()
    decided = remove_haze(saliency, rgb)

    assert_array_equal(saliency[side // 20], decided[side // 20])
    assert (np.abs(decided - 0.5) >= np.abs(saliency - 0.5) - 1e-6).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (4, 4), (200, 960), (320, 320)])
@pytest.mark.parametrize("value", [0.0, 0.4, 0.6, 1.0])
def test_a_flat_map_of_any_shape_is_decided(shape: tuple[int, int], value: float) -> None:
    decided = remove_haze(np.full(shape, value, np.float32), noise((16, 16, 3)))

    assert (shape, np.float32) == (decided.shape, decided.dtype)
    assert (1 if value == 1 else 0) == decided.min() == decided.max()


@given(seed=st.integers(0, 99), side=st.sampled_from([5, 33, 64, 400]))
@examples(1 / 4)
def test_the_result_is_a_map_and_its_arguments_stay(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((5, 5), dtype=np.float32)
    saliency = resize_saliency((coarse - coarse.min()) / np.ptp(coarse), side, side)
    rgb = noise((side, side, 3))
    before = saliency.copy(), rgb.copy()
    decided = remove_haze(saliency, rgb)

    assert 0 <= decided.min() <= decided.max() <= 1
    assert_array_equal(before[0], saliency)
    assert_array_equal(before[1], rgb)


def test_the_work_is_checked_between_the_steps() -> None:
    calls: list[int] = []
    saliency, rgb = scene()
    saliency[MIDDLE] = 0.4
    remove_haze(saliency, rgb, check=lambda: calls.append(1))

    assert 4 <= len(calls)

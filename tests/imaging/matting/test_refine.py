import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from app.imaging.matting.refine import MAX_SIDE_PX, Box, blend_maps, choose_crop, prepare_crop
from app.imaging.matting.saliency import resize_saliency
from app.imaging.prepare import prepare
from tests.generated import examples
from tests.pictures import disc_alpha, noise


def test_the_crop_is_the_subject_with_a_margin() -> None:
    saliency = np.zeros((320, 320), dtype=np.float32)
    saliency[80:160, 40:80] = 1

    assert (110, 187, 265, 449) == choose_crop(saliency, 848, 1000)


def test_the_margin_ends_at_the_pictures_border() -> None:
    saliency = np.zeros((100, 100), dtype=np.float32)
    saliency[:50, 60:] = 1

    assert (55, 0, 100, 56) == choose_crop(saliency, 100, 100)


@pytest.mark.parametrize(("side", "expected"), [(60, True), (68, True), (72, False), (90, False), (0, False)])
def test_a_crop_is_chosen_only_if_it_enlarges_the_subject(side: int, expected: bool) -> None:
    saliency = np.zeros((100, 100), dtype=np.float32)
    saliency[:side, :side] = 1

    assert expected == (choose_crop(saliency, 300, 400) is not None)


def test_a_crop_is_prepared_like_a_picture() -> None:
    rgb = noise((90, 120, 3))

    assert_array_equal(prepare(rgb[20:70, 30:110].copy(), 32), prepare_crop(rgb, (30, 20, 110, 70), 32))


BOXES = st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(20, 60), st.integers(20, 50)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(box=BOXES, seed=st.integers(0, 99))
@examples(1 / 4)
def test_the_first_map_is_kept_outside_the_soft_band_and_the_crop(box: Box, seed: int) -> None:
    first = disc_alpha(64, 64, softness=0.2)
    second = np.random.default_rng(seed).random((64, 64), dtype=np.float32)
    blended = blend_maps(first, second, box, 90, 120)
    enlarged = resize_saliency(first, *blended.shape)
    rows, columns = blended.shape
    inside = np.zeros(blended.shape, dtype=bool)
    inside[
        box[1] * rows // 90 : box[3] * rows // 90 + 1, box[0] * columns // 120 : box[2] * columns // 120 + 1
    ] = True
    y, x = np.mgrid[0:rows, 0:columns]
    soft = np.argwhere((enlarged >= 0.05) & (enlarged <= 0.95))
    far = np.array(
        [
            np.min(np.hypot(soft[:, 0] - down, soft[:, 1] - right)) > 9 / 320 * max(rows, columns) + 2
            for down, right in zip(y[::17, ::17].ravel(), x[::17, ::17].ravel(), strict=True)
        ]
    ).reshape(y[::17, ::17].shape)

    assert_array_equal(enlarged[~inside], blended[~inside])
    assert_array_equal(enlarged[::17, ::17][far], blended[::17, ::17][far])
    assert (np.float32, True) == (blended.dtype, 0 <= blended.min() <= blended.max() <= 1)
    assert MAX_SIDE_PX >= max(blended.shape)


def test_in_the_soft_band_the_blend_is_the_second_map() -> None:
    first = disc_alpha(100, 100, softness=0.3)
    sharp = disc_alpha(400, 400, softness=0.02)
    blended = blend_maps(first, sharp[100:300, 100:300], (100, 100, 300, 300), 400, 400)
    middle = np.s_[115:285, 115:285]
    enlarged = resize_saliency(first, *blended.shape)[115:285, 115:285]
    soft = (enlarged >= 0.05) & (enlarged <= 0.95)

    assert (400, 400) == blended.shape
    assert_allclose(blended[middle][soft], sharp[middle][soft], atol=1e-5)


def test_the_blend_has_no_seam_at_the_crops_borders() -> None:
    first = np.full((80, 80), 0.5, dtype=np.float32)
    blended = blend_maps(first, np.ones((80, 80), dtype=np.float32), (20, 20, 60, 60), 80, 80)
    steps = np.abs(np.diff(blended, axis=0)).max(), np.abs(np.diff(blended, axis=1)).max()

    assert 1 == blended[80, 80]
    assert 0.5 / (0.06 * 80) + 1e-6 >= max(steps)


def test_neither_map_is_modified() -> None:
    first, second = disc_alpha(40, 40), disc_alpha(40, 40, softness=0.5)
    before = first.copy(), second.copy()
    blend_maps(first, second, (5, 5, 30, 30), 40, 40)

    assert_array_equal(before[0], first)
    assert_array_equal(before[1], second)

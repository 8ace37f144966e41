"""A client's own mask, used as a saliency map."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.errors import MaskDoesNotFit
from app.imaging.formats.decode import Picture
from app.imaging.layout.region import saliency_from_mask
from tests.peaks import peak_bytes
from tests.pictures import noise


def picture_of(height: int, width: int, *, seed: int = 0, has_alpha: bool = False) -> Picture:
    grey = np.repeat(noise((height, width, 1), seed), 3, axis=2)
    return Picture(grey, noise((height, width), seed + 1) if has_alpha else None, ())


@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("size", [(30, 40), (3, 4), (300, 400)])
def test_a_masks_saliency_is_its_brightness_times_its_alpha(size: tuple[int, int], has_alpha: bool) -> None:
    mask = picture_of(*size, has_alpha=has_alpha)
    expected = mask.rgb[:, :, 0].astype(np.float32) / np.float32(255)
    if mask.own_alpha is not None:
        expected *= mask.own_alpha.astype(np.float32) / np.float32(255)

    assert_array_equal(expected, saliency_from_mask(mask, picture_of(300, 400)))


def test_a_mask_larger_than_the_picture_is_averaged() -> None:
    mask = picture_of(300, 400)
    expected = mask.rgb[:, :, 0].reshape(30, 10, 40, 10).mean(axis=(1, 3)) / 255

    assert np.abs(saliency_from_mask(mask, picture_of(30, 40)) - expected).max() < 1e-5


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(MaskDoesNotFit):
        saliency_from_mask(picture_of(30, 50), picture_of(300, 410))


@pytest.mark.parametrize("picture_size", [(2000, 1500), (20, 15)])
def test_a_mask_takes_few_bytes_a_pixel(picture_size: tuple[int, int]) -> None:
    mask, picture = picture_of(2000, 1500, has_alpha=True), picture_of(*picture_size)

    assert peak_bytes(lambda: saliency_from_mask(mask, picture)) <= 6 * 2000 * 1500 + 8 * 2**20

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from app.arrays import Rgb
from app.imaging.prepare import prepare
from tests.generated import examples
from tests.pictures import flat, noise, photo


def detailed(height: int, width: int) -> Rgb:
    """Build a picture with the finest possible detail in one half, unlike noise, which is everywhere."""
    rgb = noise((height, width, 3))
    rgb[:, : width // 2] = 120
    return rgb


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (7, 9), (320, 320), (3300, 200)])
def test_any_picture_becomes_the_networks_square(height: int, width: int) -> None:
    actual = prepare(flat(height, width, (10, 20, 30)), 320)

    assert_array_equal(actual, flat(320, 320, (10, 20, 30)))
    assert actual.flags.c_contiguous


def test_a_picture_of_the_networks_size_is_unchanged() -> None:
    rgb = noise((32, 32, 3))

    assert_array_equal(prepare(rgb, 32), rgb)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (50, 41), (319, 100)])
def test_below_ten_network_sides_resampling_is_plain_bilinear(height: int, width: int) -> None:
    """One grey level of slack: OpenCV interpolates in fixed point."""
    rgb = detailed(height, width)
    actual = prepare(rgb, 32)

    assert np.abs(actual.astype(float) - _bilinear(rgb, 32)).max() <= 1


def test_from_ten_network_sides_on_whole_blocks_are_averaged_first() -> None:
    """320 is 2 × 160 = 2 × 5 × 32: blocks of two, then bilinear. The mean of four bytes is rounded first."""
    rgb = detailed(320, 320)
    blocks = np.rint(rgb.reshape(160, 2, 160, 2, 3).mean(axis=(1, 3)))
    actual = prepare(rgb, 32)

    assert np.abs(actual.astype(float) - _bilinear(blocks, 32)).max() <= 1


def test_each_side_is_averaged_by_its_own_factor() -> None:
    rgb = detailed(64, 640)
    blocks = np.rint(rgb.reshape(64, 160, 4, 3).mean(axis=2))
    actual = prepare(rgb, 32)

    assert np.abs(actual.astype(float) - _bilinear(blocks, 32)).max() <= 1


@given(
    down=st.integers(1, 4),
    right=st.integers(1, 4),
    rows=st.integers(160, 319),
    columns=st.integers(160, 319),
    seed=st.integers(0, 99),
)
@examples(1)
def test_blocks_that_are_not_read_need_not_be_averaged(
    down: int, right: int, rows: int, columns: int, seed: int
) -> None:
    """The two steps on the whole picture, with OpenCV, give the same bits on x86-64 and a level of slack."""
    rgb = noise((rows * down, columns * right, 3), seed=seed)
    rgb[:, : columns * right // 2] = 120  # calm, so not a noisy picture
    factors = [max(1, side // 160) for side in rgb.shape[:2]]
    size = round(rgb.shape[1] / factors[1]), round(rgb.shape[0] / factors[0])
    averaged = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    expected = cv2.resize(averaged, (32, 32), interpolation=cv2.INTER_LINEAR)

    assert np.abs(prepare(rgb, 32).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("side", "factor"), [(64, 2), (96, 3), (320, 10), (350, 10)])
def test_a_noisy_picture_is_averaged_further(side: int, factor: int) -> None:
    """350 is averaged to 35 of 10 each, then bilinear; by four and more, 2 × 2 are averaged first."""
    rgb = noise((side, side, 3))
    blocks: NDArray[np.float64] = rgb.astype(float)
    for step in [2, factor // 2] if factor >= 4 else [factor]:
        size = len(blocks) // step
        blocks = np.floor(blocks.reshape(size, step, size, step, 3).mean(axis=(1, 3)) + 0.5)
    actual = prepare(rgb, 32)

    assert np.abs(actual.astype(float) - _bilinear(blocks, 32)).max() <= 1


def test_below_two_network_sides_a_noisy_picture_is_resampled_bilinearly() -> None:
    rgb = noise((63, 63, 3))
    actual = prepare(rgb, 32)

    assert np.abs(actual.astype(float) - _bilinear(rgb, 32)).max() <= 1


def test_a_remainder_smaller_than_a_block_does_not_shift_the_picture() -> None:
    """A ramp keeps its values at both ends and between, to a grey level."""
    ramp = np.repeat(np.linspace(0, 255, 3299)[None, :, None], 3, axis=2).repeat(4, axis=0)
    actual = prepare(np.rint(ramp).astype(np.uint8), 320)[0, :, 0].astype(float)
    expected = ((np.arange(320) + 0.5) / 320 * 3299 - 0.5) / 3298 * 255

    assert np.abs(actual - expected).max() <= 1


def test_the_argument_is_not_modified() -> None:
    rgb = photo(70, 50)
    before = rgb.copy()
    prepare(rgb, 16)

    np.testing.assert_array_equal(rgb, before)


def _bilinear(rgb: Rgb | NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Interpolate by hand, with pixel centres at half integers and repeated borders."""

    def along(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        size = values.shape[axis]
        position = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
        first = np.minimum(np.floor(position).astype(int), max(size - 2, 0))
        share = (position - first).reshape([-1 if i == axis else 1 for i in range(3)])
        second = np.minimum(first + 1, size - 1)
        return (1 - share) * values.take(first, axis) + share * values.take(second, axis)

    return along(along(np.asarray(rgb, dtype=np.float64), 0), 1)

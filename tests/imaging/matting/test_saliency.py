import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from app.imaging.matting.saliency import enlarge_to_grey, is_empty, publish, resize_saliency, stretch, to_grey
from tests.generated import examples

RAW = np.random.default_rng(0).random((12, 12), dtype=np.float32) * 0.5 + 0.2


def test_a_stretched_map_spans_0_to_1_in_the_same_order() -> None:
    actual = stretch(RAW)

    assert (0.0, 1.0) == (actual.min(), actual.max())
    assert_allclose(actual, (RAW - RAW.min()) / np.ptp(RAW), atol=1e-6)
    assert (np.float32, True) == (actual.dtype, actual.flags.c_contiguous)


def test_a_map_without_contrast_is_stretched_to_zeros() -> None:
    assert_array_equal(stretch(np.full((4, 4), 0.7, dtype=np.float32)), np.zeros((4, 4)))


@pytest.mark.parametrize(("highest", "expected"), [(0.0, True), (0.1, True), (0.9, False), (1.0, False)])
def test_a_map_is_empty_if_its_raw_maximum_is_low(highest: float, expected: bool) -> None:
    raw = np.zeros((8, 8), dtype=np.float32)
    raw[3, 5] = highest

    assert expected == is_empty(raw)


def test_8_bits_are_rounded_half_to_even_and_clipped() -> None:
    halves = np.array([[0.5, 1.5, 2.5, 253.5, 254.5]]) / 255
    values = np.hstack([halves, [[-0.2, 0.0, 1.0, 1.2]]]).astype(np.float64)
    actual = to_grey(values.astype(np.float32))
    expected = np.clip(np.rint(values.astype(np.float32) * np.float32(255)), 0, 255)

    assert_array_equal(actual, expected)


def test_each_8_bit_level_survives_the_round_trip_through_float() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)

    assert_array_equal(to_grey(levels.astype(np.float32) / 255), levels)


def test_an_enlarged_map_is_bilinear_with_centres_at_halves() -> None:
    actual = resize_saliency(np.array([[0.0, 1.0]], dtype=np.float32), 1, 4)

    assert_allclose(actual, [[0.0, 0.25, 0.75, 1.0]])


def test_a_shrunk_map_is_averaged() -> None:
    actual = resize_saliency(RAW, 6, 4)

    assert_allclose(actual, RAW.reshape(6, 2, 4, 3).mean(axis=(1, 3)), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (12, 12), (7, 31)])
def test_a_map_can_be_resized_to_any_size(height: int, width: int) -> None:
    assert (height, width) == resize_saliency(RAW, height, width).shape == publish(RAW, height, width).shape


def test_a_published_map_is_truncated_to_8_bits_before_it_is_enlarged() -> None:
    """As by the authors: 0.999 of a grey level becomes 0."""
    actual = publish(np.array([[0.999 / 255, 1.0]], dtype=np.float32), 1, 2)

    assert [[0, 255]] == actual.tolist()


@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    seed=st.integers(0, 99),
)
@examples(2)
def test_strips_are_within_a_level_of_the_whole_in_float(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    saliency = np.random.default_rng(seed).random((rows, columns), dtype=np.float32)
    expected = to_grey(resize_saliency(saliency, height, width)).astype(np.int16)
    actual = enlarge_to_grey(saliency, height, width)

    assert (np.uint8, (height, width)) == (actual.dtype, actual.shape)
    assert 1 >= np.abs(expected - actual).max()


def test_rounding_errs_by_at_most_a_hundredth_of_a_level() -> None:
    saliency = np.random.default_rng(0).random((320, 320), dtype=np.float32)
    levels = resize_saliency(saliency, 1000, 700) * np.float32(255)
    actual = enlarge_to_grey(saliency, 1000, 700)

    assert 0.51 >= np.abs(levels - actual).max()


def test_maps_of_0_or_1_stay_exact_in_strips() -> None:
    for sure in (0, 1):
        actual = enlarge_to_grey(np.full((20, 20), sure, dtype=np.float32), 333, 77)

        assert_array_equal(actual, np.full((333, 77), 255 * sure))

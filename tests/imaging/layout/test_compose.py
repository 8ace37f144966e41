import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from app.imaging.layout.compose import assemble_cutout, combine_alpha, over_colour
from app.imaging.matting.saliency import to_grey
from tests.generated import examples
from tests.pictures import disc_alpha, flat, noise


def test_colours_are_kept_where_alpha_is_above_0_and_zero_elsewhere() -> None:
    foreground, alpha = noise((30, 40, 3)), to_grey(disc_alpha(30, 40, softness=0.5))
    actual = assemble_cutout(foreground, alpha)
    is_visible = alpha > 0

    assert_array_equal(actual[:, :, :3], np.where(is_visible[:, :, None], foreground, 0))
    assert_array_equal(actual[:, :, 3], alpha)


def test_a_colour_is_zero_where_its_alpha_rounds_to_0() -> None:
    actual = assemble_cutout(flat(1, 2), to_grey(np.array([[0.4 / 255, 0.6 / 255]], dtype=np.float32)))

    assert [[[0, 0, 0, 0], [128, 128, 128, 1]]] == actual.tolist()


@given(seed=st.integers(0, 99), height=st.integers(1, 150), colour=st.tuples(*[st.integers(0, 255)] * 3))
@examples(1 / 2)
def test_over_a_colour_the_result_follows_the_compositing_equation(
    seed: int, height: int, colour: tuple[int, int, int]
) -> None:
    cutout = noise((height, 7, 4), seed)
    alpha = cutout[:, :, 3:] / 255
    expected = alpha * cutout[:, :, :3] + (1 - alpha) * np.array(colour)

    assert_allclose(over_colour(cutout, colour), expected, atol=0.51)


def test_the_pictures_own_alpha_and_the_matte_are_multiplied() -> None:
    alpha = np.array([[0.0, 0.5, 1.0, 1.0]], dtype=np.float32)
    actual = combine_alpha(alpha, np.array([[255, 51, 51, 255]], dtype=np.uint8))

    assert_allclose(actual, [[0.0, 0.1, 0.2, 1.0]], atol=1e-6)
    assert np.float32 == actual.dtype


def test_arrays_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        assemble_cutout(flat(4, 4), np.zeros((4, 5), dtype=np.uint8))
    with pytest.raises(ValueError, match="sizes differ"):
        combine_alpha(np.zeros((4, 5), dtype=np.float32), np.zeros((5, 4), dtype=np.uint8))

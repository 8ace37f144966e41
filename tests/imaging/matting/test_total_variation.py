import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from app.imaging.matting.total_variation import ITERATIONS, divide
from tests.generated import examples


def energy(region: np.ndarray, cost: np.ndarray, down: np.ndarray, right: np.ndarray) -> float:
    border = (down * np.abs(np.diff(region, axis=0))).sum() + (right * np.abs(np.diff(region, axis=1))).sum()
    return float((cost * region).sum() + border)


@given(st.integers(0, 10**6))
@examples(0.5)
def test_it_finds_nearly_the_best_of_all_divisions(seed: int) -> None:
    """The oracle tries all divisions of a grid of three by four pixels."""
    rng = np.random.default_rng(seed)
    cost = rng.normal(0, 1, (3, 4)).astype(np.float32)
    down, right = (rng.uniform(0, 1, shape).astype(np.float32) for shape in ((2, 4), (3, 3)))
    nothing = np.zeros((3, 4), bool)
    start = np.full((3, 4), 0.5, np.float32)
    region, is_complete = divide(cost, (down, right), fixed=nothing, values=start, is_time_left=lambda: True)
    all_divisions = (np.reshape(bits, (3, 4)) for bits in itertools.product((0, 1), repeat=12))
    best = min(energy(bits, cost, down, right) for bits in all_divisions)

    assert is_complete
    assert energy((region >= 0.5).astype(int), cost, down, right) <= best + 0.15 * abs(best) + 0.02


def test_fixed_pixels_keep_their_values() -> None:
    values = np.array([[0.25, 0.5], [1, 0]], np.float32)
    fixed = np.array([[True, False], [True, True]])
    border = np.ones((1, 2), np.float32), np.ones((2, 1), np.float32)
    cost = np.full((2, 2), -5, np.float32)
    region, _ = divide(cost, border, fixed=fixed, values=values, is_time_left=lambda: True)

    assert_array_equal(values[fixed], region[fixed])
    assert region[0, 1] == 1


def test_it_ends_when_the_time_is_up() -> None:
    left = iter([True] * 3 + [False])
    shape = np.zeros((4, 4), np.float32)
    border = shape[1:], shape[:, 1:]
    _, is_complete = divide(
        shape - 1, border, fixed=np.zeros((4, 4), bool), values=shape, is_time_left=lambda: next(left)
    )

    assert not is_complete
    assert next(left, None) is None
    assert ITERATIONS > 4

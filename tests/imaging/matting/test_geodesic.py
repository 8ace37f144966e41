import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from app.imaging.matting.geodesic import geodesic_distance
from tests.generated import examples

STEP = 0.1


def shortest(seeds: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Dijkstra's algorithm on the grid of eight neighbours."""
    height, width = seeds.shape
    distance = np.where(seeds, 0.0, np.inf)
    queue = [(0.0, y, x) for y, x in zip(*np.nonzero(seeds), strict=True)]
    while queue:
        so_far, y, x = heapq.heappop(queue)
        if so_far > distance[y, x]:
            continue
        for down, right in ((d, r) for d in (-1, 0, 1) for r in (-1, 0, 1) if (d, r) != (0, 0)):
            v, u = y + down, x + right
            if 0 <= v < height and 0 <= u < width:
                cost = np.abs(colours[v, u] - colours[y, x]).sum() + STEP * np.hypot(down, right)
                if so_far + cost < distance[v, u]:
                    distance[v, u] = so_far + cost
                    heapq.heappush(queue, (so_far + cost, v, u))
    return distance


@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 14))
@examples(0.5)
def test_no_path_is_shorter_than_the_shortest_and_few_are_longer(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    colours = rng.uniform(0, 1, (height, width, 3)).astype(np.float32)
    seeds = np.zeros((height, width), bool)
    seeds[rng.integers(height), rng.integers(width)] = True
    expected, actual = shortest(seeds, colours), geodesic_distance(seeds, colours, step_cost=STEP)

    assert (actual > expected - 1e-4).all()
    assert np.mean(actual > expected + 1e-3) < 0.2


def test_on_an_even_picture_it_is_the_distance_of_the_grid() -> None:
    seeds = np.zeros((9, 12), bool)
    seeds[4, 3] = True
    y, x = np.mgrid[0:9, 0:12]
    down, right = abs(y - 4), abs(x - 3)
    expected = STEP * (np.maximum(down, right) + (2**0.5 - 1) * np.minimum(down, right))

    assert_allclose(
        expected, geodesic_distance(seeds, np.zeros((9, 12, 3), np.float32), step_cost=STEP), 1e-5
    )


def test_without_seeds_everything_is_far() -> None:
    assert (
        geodesic_distance(np.zeros((3, 4), bool), np.zeros((3, 4, 3), np.float32), step_cost=1) > 1e5
    ).all()

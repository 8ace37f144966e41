import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model_export.matting_metrics import (
    absolute_error,
    connectivity_error,
    gradient_error,
    squared_error,
)

METRICS = (absolute_error, squared_error, gradient_error, connectivity_error)
Grey = NDArray[np.uint8]
Region = NDArray[np.bool_]


def mattes(seed: int = 0) -> tuple[Grey, Grey, Region]:
    """Return two similar soft mattes, and a region with holes."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((4, 5)), np.ones((4, 4)))
    truth = np.clip(np.rint(255 * (1.4 * coarse - 0.2)), 0, 255).astype(np.uint8)
    alpha = np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).astype(np.uint8)
    return alpha, truth, rng.random(truth.shape) < 0.6


def pixels(region: Region) -> list[tuple[int, int]]:
    return [(y, x) for y, x in np.argwhere(region).tolist()]


def naive_gradients(matte: Grey) -> dict[tuple[int, int], float]:
    """The benchmark's definition: the kernel ends where the Gaussian of σ = 1.4 falls below 0.01."""
    sigma = 1.4
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * 0.01)))

    def gauss(x: float) -> float:
        return math.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    def derivative(x: float) -> float:
        return -x * gauss(x) / sigma**2

    offsets = range(-half, half + 1)
    kernel = {(v, u): gauss(v) * derivative(u) for v in offsets for u in offsets}
    length = math.sqrt(sum(weight**2 for weight in kernel.values()))
    height, width = matte.shape
    gradients = {}
    for y, x in np.ndindex(matte.shape):
        right = down = 0.0
        for (v, u), weight in kernel.items():
            near = [min(max(at, 0), end - 1) for at, end in ((y - v, height), (x - u, width))]
            turned = [min(max(at, 0), end - 1) for at, end in ((y - u, height), (x - v, width))]
            right += weight / length * int(matte[near[0], near[1]]) / 255
            down += weight / length * int(matte[turned[0], turned[1]]) / 255
        gradients[y, x] = math.hypot(right, down)
    return gradients


def naive_largest(members: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Flood-fill one 4-connected region after the other."""
    left, largest = set(members), set()
    while left:
        region, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            if (y, x) in left:
                left.remove((y, x))
                region.add((y, x))
                edge += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        largest = max(largest, region, key=len)
    return largest


def naive_connectivity(alpha: Grey, truth: Grey, region: Region) -> float:
    level = dict.fromkeys(np.ndindex(alpha.shape), 1.0)
    decided: set[tuple[int, ...]] = set()
    for step in range(1, 11):
        both = {(y, x) for y, x in level if min(alpha[y, x], truth[y, x]) / 255 >= step / 10}
        source = naive_largest(both)
        for pixel in level.keys() - source - decided:
            level[pixel] = (step - 1) / 10
            decided.add(pixel)
    total = 0.0
    for y, x in pixels(region):
        degrees = []
        for matte in (alpha, truth):
            above = matte[y, x] / 255 - level[y, x]
            degrees.append(1 - (above if above >= 0.15 else 0))
        total += abs(degrees[0] - degrees[1])
    return total / 1000


@pytest.mark.parametrize("seed", range(4))
def test_absolute_and_squared_error_equal_a_naive_loop(seed: int) -> None:
    alpha, truth, region = mattes(seed)
    differences = [(int(alpha[at]) - int(truth[at])) / 255 for at in pixels(region)]

    assert absolute_error(alpha, truth, region) == pytest.approx(sum(map(abs, differences)) / 1000)
    assert squared_error(alpha, truth, region) == pytest.approx(
        sum(d * d for d in differences) / len(differences)
    )


@pytest.mark.parametrize("seed", range(2))
def test_the_gradient_error_equals_a_naive_convolution(seed: int) -> None:
    alpha, truth, region = mattes(seed)
    gradients, true_gradients = naive_gradients(alpha), naive_gradients(truth)
    expected = sum((gradients[at] - true_gradients[at]) ** 2 for at in pixels(region)) / 1000

    assert gradient_error(alpha, truth, region) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_connectivity_error_equals_a_naive_flood_fill(seed: int) -> None:
    alpha, truth, region = mattes(seed)

    assert connectivity_error(alpha, truth, region) == pytest.approx(naive_connectivity(alpha, truth, region))


def test_an_island_counts_as_disconnected() -> None:
    truth = np.zeros((20, 40), dtype=np.uint8)
    truth[5:15, 5:15] = 255
    alpha = truth.copy()
    alpha[5:10, 30:34] = 255

    assert connectivity_error(alpha, truth, truth == 0) == pytest.approx(20 / 1000)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_matte_has_no_error(metric: object) -> None:
    assert callable(metric)
    _, truth, region = mattes()

    assert metric(truth, truth, region) == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_errors_outside_the_region_do_not_count(metric: object) -> None:
    """The errors are far outside, because the gradient kernel extends four pixels."""
    assert callable(metric)
    truth = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (40, 1))
    alpha = truth.copy()
    alpha[:10] //= 2
    region = np.zeros(truth.shape, dtype=np.bool_)
    region[20:] = True

    assert metric(alpha, truth, region) == 0.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("shape", "region", "words"),
    [((4, 5), np.ones((4, 4)), "shape|is"), ((4, 4), np.zeros((4, 4)), "no pix")],
)
def test_different_shapes_and_an_empty_region_are_refused(
    metric: object, shape: tuple[int, int], region: NDArray[np.float64], words: str
) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=words):
        metric(np.zeros(shape, np.uint8), np.zeros((4, 4), np.uint8), region > 0)

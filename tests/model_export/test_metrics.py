import numpy as np
import pytest
from numpy.typing import NDArray

from model_export.metrics import (
    max_f_beta,
    max_f_of_means,
    mean_absolute_error,
    precision_and_recall,
    relaxed_boundary_f,
)

Pair = tuple[NDArray[np.float32], NDArray[np.bool_]]


def pairs(count: int = 3) -> list[Pair]:
    rng = np.random.default_rng(7)
    made = []
    for number in range(count):
        height, width = 5 + number, 9 - number
        truth = rng.random((height, width)) < 0.4
        saliency = np.clip(0.6 * truth + rng.normal(0.2, 0.2, truth.shape), 0, 1)
        made.append((saliency.astype(np.float32), truth))
    return made


def naive_max_f(dataset: list[Pair]) -> float:
    """The definition, pixel by pixel."""
    best = 0.0
    for threshold in range(256):
        precisions, recalls = [], []
        for saliency, truth in dataset:
            hits = marked = expected = 0
            for value, is_foreground in zip(saliency.ravel(), truth.ravel(), strict=True):
                is_marked = round(float(value) * 255) >= threshold
                hits += is_marked and is_foreground
                marked += is_marked
                expected += is_foreground
            precisions.append(hits / marked if marked else 0.0)
            recalls.append(hits / expected if expected else 0.0)
        precision, recall = sum(precisions) / len(dataset), sum(recalls) / len(dataset)
        if precision + recall:
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return best


def test_the_largest_f_measure_equals_a_naive_loop() -> None:
    assert max_f_beta(pairs()) == pytest.approx(naive_max_f(pairs()), abs=1e-6)


def test_pictures_may_be_measured_one_by_one() -> None:
    assert max_f_of_means([precision_and_recall(*pair) for pair in pairs()]) == max_f_beta(pairs())


def test_precision_and_recall_are_averaged_before_f_is_taken() -> None:
    each_picture_alone = [max_f_beta([pair]) for pair in pairs()]

    assert max_f_beta(pairs()) < np.mean(each_picture_alone)


def test_beta_squared_is_0_3() -> None:
    saliency = np.ones((1, 4), dtype=np.float32)
    truth = np.array([[True, False, False, False]])

    assert max_f_beta([(saliency, truth)]) == pytest.approx(1.3 * 0.25 / (0.3 * 0.25 + 1))


def test_a_perfect_map_scores_one() -> None:
    dataset = [(truth.astype(np.float32), truth) for _, truth in pairs()]

    assert max_f_beta(dataset) == pytest.approx(1.0)


def test_a_dataset_may_be_an_iterator() -> None:
    assert max_f_beta(iter(pairs())) == max_f_beta(pairs())


def test_a_picture_without_foreground_has_no_recall_and_no_division_by_zero() -> None:
    truth = np.zeros((4, 4), dtype=np.bool_)

    precision, recall = precision_and_recall(np.zeros((4, 4), dtype=np.float32), truth)

    assert not precision.any()
    assert not recall.any()


def test_no_pictures_have_no_f_measure() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        max_f_beta([])


def test_the_mean_absolute_error_equals_a_naive_loop() -> None:
    saliency, truth = pairs(1)[0]
    naive = sum(abs(float(s) - int(g)) for s, g in zip(saliency.ravel(), truth.ravel(), strict=True))

    assert mean_absolute_error(saliency, truth) == pytest.approx(naive / saliency.size, abs=1e-9)


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        mean_absolute_error(np.zeros((2, 3), dtype=np.float32), np.zeros((3, 2), dtype=np.bool_))


def naive_boundary(mask: NDArray[np.bool_]) -> set[tuple[int, int]]:
    """Return the pixels of a mask with a neighbour outside it; pixels beyond the picture do not count."""
    height, width = mask.shape
    return {
        (y, x)
        for y, x in np.argwhere(mask).tolist()
        if not mask[max(y - 1, 0) : min(y + 2, height), max(x - 1, 0) : min(x + 2, width)].all()
    }


def naive_relaxed_f(saliency: NDArray[np.float32], truth: NDArray[np.bool_], slack_px: int) -> float:
    found, expected = naive_boundary(saliency >= 0.5), naive_boundary(truth)

    def near(pixel: tuple[int, int], others: set[tuple[int, int]]) -> bool:
        return any(max(abs(pixel[0] - y), abs(pixel[1] - x)) <= slack_px for y, x in others)

    precision = sum(near(pixel, expected) for pixel in found) / max(len(found), 1)
    recall = sum(near(pixel, found) for pixel in expected) / max(len(expected), 1)
    return 1.3 * precision * recall / (0.3 * precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("slack_px", [0, 1, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_relaxed_boundary_measure_equals_a_naive_loop(seed: int, slack_px: int) -> None:
    rng = np.random.default_rng(seed)
    saliency = np.kron(rng.random((4, 5)), np.ones((6, 7))).astype(np.float32)  # blocks that touch the border
    truth = np.roll(saliency, (2, 1), (0, 1)) >= 0.5

    assert relaxed_boundary_f(saliency, truth, slack_px=slack_px) == pytest.approx(
        naive_relaxed_f(saliency, truth, slack_px), abs=1e-12
    )


def test_a_boundary_within_the_slack_is_a_hit_and_one_beyond_is_not() -> None:
    truth = np.zeros((40, 60), dtype=np.bool_)
    truth[10:30, 20:40] = True
    moved = [np.roll(truth, by_px, axis=1).astype(np.float32) for by_px in (3, 30)]

    assert [1.0, 0.0] == [relaxed_boundary_f(saliency, truth) for saliency in moved]


@pytest.mark.parametrize("mask", [np.zeros((9, 9)), np.ones((9, 9))])
def test_without_a_boundary_the_measure_is_0(mask: NDArray[np.float64]) -> None:
    assert relaxed_boundary_f(mask.astype(np.float32), mask > 0) == 0.0

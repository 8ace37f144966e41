"""Class metrics: the figures equal a naive loop over their definitions, and have the properties they must."""

import math

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="runs in the serving environment, which has Hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.class_metrics import class_figures, confusion_matrix
from model_export.label_maps import Labels

COUNT = 4
VOID = 255
Pair = tuple[Labels, Labels]
FIGURES = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")


@st.composite
def label_maps(draw: st.DrawFn) -> Pair:
    """Return prediction and truth of a small picture, with at least one pixel that is not void."""
    size = draw(st.integers(1, 30))
    predicted = draw(st.lists(st.integers(0, COUNT - 1), min_size=size, max_size=size))
    truth = draw(st.lists(st.sampled_from((*range(COUNT), VOID)), min_size=size, max_size=size))
    truth[draw(st.integers(0, size - 1))] = draw(st.integers(0, COUNT - 1))
    return np.array(predicted, np.uint8), np.array(truth, np.uint8)


def naive(predicted: Labels, truth: Labels) -> dict[str, float]:
    """Return the definitions, class by class and pixel by pixel."""
    pixels = [(int(p), int(t)) for p, t in zip(predicted.ravel(), truth.ravel(), strict=True) if t != VOID]
    accuracies, ious, weighted = [], [], 0.0
    for label in range(COUNT):
        true = sum(t == label for _, t in pixels)
        marked = sum(p == label for p, _ in pixels)
        both = sum(p == label and t == label for p, t in pixels)
        either = sum(p == label or t == label for p, t in pixels)
        assert either == true + marked - both
        if true:
            accuracies.append(both / true)
            weighted += true * both / either
        if either:
            ious.append(both / either)
    return {
        "pixel_accuracy": sum(p == t for p, t in pixels) / len(pixels),
        "mean_accuracy": sum(accuracies) / len(accuracies),
        "mean_iou": sum(ious) / len(ious),
        "frequency_weighted_iou": weighted / len(pixels),
    }


@given(label_maps())
def test_the_figures_equal_a_naive_loop(pair: Pair) -> None:
    found = class_figures(confusion_matrix(*pair, count=COUNT)).of_all_classes()

    assert tuple(found) == FIGURES
    assert found == pytest.approx(naive(*pair))


@given(label_maps())
def test_figures_are_shares_and_no_iou_is_above_the_accuracy_of_its_class(pair: Pair) -> None:
    found = class_figures(confusion_matrix(*pair, count=COUNT))

    assert all(0 <= figure <= 1 for figure in found.of_all_classes().values())
    for accuracy, iou, pixels in zip(found.accuracy, found.iou, found.pixels, strict=True):
        assert math.isnan(accuracy) == (pixels == 0)
        assert math.isnan(accuracy) or iou <= accuracy
    assert found.frequency_weighted_iou <= found.pixel_accuracy + 1e-12


@given(label_maps())
def test_the_truth_itself_is_perfect(pair: Pair) -> None:
    truth = pair[1]
    predicted = np.where(truth == VOID, np.uint8(0), truth)

    assert set(class_figures(confusion_matrix(predicted, truth, count=COUNT)).of_all_classes().values()) == {
        1.0
    }


@given(label_maps(), st.permutations(range(COUNT)))
def test_the_order_of_classes_and_of_pixels_does_not_matter(pair: Pair, order: list[int]) -> None:
    renamed = np.array([*order, *range(COUNT, 256)], np.uint8)
    shuffled = np.random.default_rng(0).permutation(len(pair[0]))
    first = class_figures(confusion_matrix(*pair, count=COUNT))
    second = class_figures(confusion_matrix(*(renamed[each][shuffled] for each in pair), count=COUNT))

    assert second.of_all_classes() == pytest.approx(first.of_all_classes())
    assert [second.iou[order[label]] for label in range(COUNT)] == pytest.approx(list(first.iou), nan_ok=True)


@given(label_maps(), label_maps())
def test_the_counts_of_a_set_are_the_sums_of_those_of_its_pictures(one: Pair, other: Pair) -> None:
    together = [np.concatenate(maps) for maps in zip(one, other, strict=True)]
    expected = confusion_matrix(*one, count=COUNT) + confusion_matrix(*other, count=COUNT)

    assert np.array_equal(confusion_matrix(*together, count=COUNT), expected)


@settings(max_examples=30)
@given(label_maps(), st.integers(0, COUNT - 1))
def test_void_pixels_never_count(pair: Pair, label: int) -> None:
    predicted, truth = pair
    changed = np.where(truth == VOID, np.uint8(label), predicted)

    assert np.array_equal(
        confusion_matrix(predicted, truth, count=COUNT), confusion_matrix(changed, truth, count=COUNT)
    )


def test_an_example_worked_out_by_hand() -> None:
    """Of eight pixels of class 0, two are taken for class 1; both of class 1 are found; class 2 is absent."""
    truth = np.array([0] * 8 + [1] * 2 + [VOID], np.uint8)
    predicted = np.array([0] * 6 + [1] * 2 + [1] * 2 + [2], np.uint8)
    found = class_figures(confusion_matrix(predicted, truth, count=3))

    assert found.pixels == (8, 2, 0)
    assert found.of_all_classes() == pytest.approx(
        {
            "pixel_accuracy": 8 / 10,
            "mean_accuracy": (6 / 8 + 1) / 2,
            "mean_iou": (6 / 8 + 2 / 4) / 2,
            "frequency_weighted_iou": (8 * 6 / 8 + 2 * 2 / 4) / 10,
        }
    )


def test_labels_of_no_class_other_shapes_and_no_pixels_are_refused() -> None:
    ones = np.ones(3, np.uint8)
    with pytest.raises(ValueError, match="labels beyond those of 1 classes"):
        confusion_matrix(ones, ones, count=1)
    with pytest.raises(ValueError, match="truth"):
        confusion_matrix(ones, ones[:2], count=2)
    with pytest.raises(ValueError, match="no pixels"):
        class_figures(confusion_matrix(ones, np.full(3, VOID, np.uint8), count=2))

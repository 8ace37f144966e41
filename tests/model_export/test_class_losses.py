"""Class losses: cross-entropy and weights equal naive loops, and void pixels teach nothing."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from model_export.class_losses import ClassMissing, class_cross_entropy, weigh_classes
from model_export.label_maps import VOID, Labels

pytestmark = pytest.mark.torch
COUNT = 3
NAMES = ("background", "a", "b")
WEIGHTS = (0.5, 2.0, 3.0)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return scores, (2, 3, 4, 5), and labels, (2, 1, 4, 5), some of them void."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor((0, 1, 2, VOID))[torch.randint(4, (2, 1, 4, 5), generator=generator)]
    return 3 * torch.randn(2, COUNT, 4, 5, generator=generator), labels.float()


def naive(scores: Tensor, labels: Tensor, weights: tuple[float, ...]) -> float:
    """Return the definition, pixel by pixel."""
    losses = total = 0.0
    for number, row, column in np.ndindex(2, 4, 5):
        label = int(labels[number, 0, row, column])
        if label == VOID:
            continue
        powers = [math.exp(float(scores[number, each, row, column])) for each in range(COUNT)]
        losses -= weights[label] * math.log(powers[label] / sum(powers))
        total += weights[label]
    return losses / total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), WEIGHTS])
def test_the_cross_entropy_equals_a_naive_loop(seed: int, weights: tuple[float, ...]) -> None:
    scores, labels = batch(seed)

    assert float(class_cross_entropy([scores], labels, weights)) == pytest.approx(
        naive(scores, labels, weights), rel=1e-5
    )


def test_several_maps_are_averaged_and_maps_of_other_channels_left_out() -> None:
    (one, labels), (other, _) = batch(), batch(1)
    expected = (naive(one, labels, WEIGHTS) + naive(other, labels, WEIGHTS)) / 2
    found = class_cross_entropy([one, other, torch.randn(2, 1, 4, 5)], labels, WEIGHTS)

    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_void_pixels_have_no_gradient_and_a_void_batch_no_loss() -> None:
    scores, labels = batch()
    scores.requires_grad_()
    class_cross_entropy([scores], labels, WEIGHTS).backward()
    is_void = (labels == VOID).expand_as(scores)

    assert scores.grad is not None
    assert not scores.grad[is_void].any()
    assert scores.grad[~is_void].all()
    assert float(class_cross_entropy([scores.detach()], torch.full_like(labels, VOID), WEIGHTS)) == 0


def maps() -> Labels:
    """Return three pictures of four pixels: class 2 is in the second only, and one pixel is void."""
    return np.array([[[0, 0, 0, 1]], [[0, 0, 1, 2]], [[0, 0, 0, VOID]]], np.uint8)


def test_inverse_frequencies_give_every_class_the_same_share_of_the_loss() -> None:
    weights = weigh_classes("inverse_frequency", maps(), NAMES)
    pixels = [int((maps() == label).sum()) for label in range(COUNT)]

    assert weights == pytest.approx([11 / (3 * count) for count in (8, 2, 1)])
    shares = [weight * count for weight, count in zip(weights, pixels, strict=True)]
    assert shares == pytest.approx([11 / 3] * 3)


def test_median_frequencies_count_the_pictures_that_have_a_class() -> None:
    """Frequencies: 8 of 11 pixels, 2 of the 8 of two pictures, 1 of the 4 of one; their median is 1/4."""
    assert weigh_classes("median_frequency", maps(), NAMES) == pytest.approx([0.25 / (8 / 11), 1, 1])


def test_equal_weights_need_no_pixels_of_a_class_but_others_do() -> None:
    labels = np.zeros((2, 3, 3), np.uint8)

    assert weigh_classes("equal", labels, NAMES) == (1, 1, 1)
    for by in ("inverse_frequency", "median_frequency"):
        with pytest.raises(ClassMissing, match=rf"has the class a, so {by} .*--set class_weights=\"equal\""):
            weigh_classes(by, labels, NAMES)

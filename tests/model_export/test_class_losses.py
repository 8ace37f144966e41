"""Class losses: they and their weights equal naive loops, and void pixels teach nothing."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from model_export.class_losses import (
    CLASS_LOSSES,
    ClassLoss,
    ClassMissing,
    class_cross_entropy,
    class_cross_entropy_dice,
    class_focal,
    weigh_classes,
)
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


def known_pixels(scores: Tensor, labels: Tensor) -> list[tuple[list[float], int]]:
    """Return the probabilities of the classes and the label of each pixel that is not void."""
    pixels = []
    for number, row, column in np.ndindex(2, 4, 5):
        label = int(labels[number, 0, row, column])
        if label != VOID:
            powers = [math.exp(float(scores[number, each, row, column])) for each in range(COUNT)]
            pixels.append(([power / sum(powers) for power in powers], label))
    return pixels


def naive(scores: Tensor, labels: Tensor, weights: tuple[float, ...]) -> float:
    """Return the definition of the cross-entropy, pixel by pixel."""
    pixels = known_pixels(scores, labels)
    losses = sum(-weights[label] * math.log(shares[label]) for shares, label in pixels)
    return losses / sum(weights[label] for _, label in pixels)


def naive_focal(scores: Tensor, labels: Tensor, weights: tuple[float, ...]) -> float:
    """Return Lin et al.'s equation 5 with γ = 2, pixel by pixel."""
    pixels = known_pixels(scores, labels)
    losses = 0.0
    for shares, label in pixels:
        losses += -weights[label] * (1 - shares[label]) ** 2 * math.log(shares[label])
    return losses / sum(weights[label] for _, label in pixels)


def naive_dice(scores: Tensor, labels: Tensor) -> float:
    """Return one minus the soft Dice ratio, averaged over the classes that occur."""
    pixels, losses = known_pixels(scores, labels), []
    for each in {label for _, label in pixels}:
        overlap = sum(shares[each] for shares, label in pixels if label == each)
        size = sum(shares[each] + (label == each) for shares, label in pixels)
        losses.append(1 - (2 * overlap + 1) / (size + 1))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), WEIGHTS])
def test_the_cross_entropy_equals_a_naive_loop(seed: int, weights: tuple[float, ...]) -> None:
    scores, labels = batch(seed)

    assert float(class_cross_entropy([scores], labels, weights)) == pytest.approx(
        naive(scores, labels, weights), rel=1e-5
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_focal_loss_equals_a_naive_loop(seed: int) -> None:
    scores, labels = batch(seed)
    found = float(class_focal([scores], labels, WEIGHTS))

    assert found == pytest.approx(naive_focal(scores, labels, WEIGHTS), rel=1e-5)
    assert found < naive(scores, labels, WEIGHTS)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [None, 1])
def test_cross_entropy_and_dice_equal_naive_loops(seed: int, missing: int | None) -> None:
    scores, labels = batch(seed)
    labels[labels == missing] = 0
    expected = naive(scores, labels, WEIGHTS) + naive_dice(scores, labels)

    assert float(class_cross_entropy_dice([scores], labels, WEIGHTS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", CLASS_LOSSES.values(), ids=CLASS_LOSSES)
def test_several_maps_are_averaged_and_maps_of_other_channels_left_out(loss: ClassLoss) -> None:
    (one, labels), (other, _) = batch(), batch(1)
    expected = sum(float(loss([each], labels, WEIGHTS)) for each in (one, other)) / 2
    found = loss([one, other, torch.randn(2, 1, 4, 5)], labels, WEIGHTS)

    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", CLASS_LOSSES.values(), ids=CLASS_LOSSES)
def test_void_pixels_have_no_gradient_and_a_void_batch_no_loss(loss: ClassLoss) -> None:
    scores, labels = batch()
    scores.requires_grad_()
    loss([scores], labels, WEIGHTS).backward()
    is_void = (labels == VOID).expand_as(scores)

    assert scores.grad is not None
    assert not scores.grad[is_void].any()
    assert scores.grad[~is_void].all()
    scores.grad = None
    nothing = loss([scores], torch.full_like(labels, VOID), WEIGHTS)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not scores.grad.any()


@pytest.mark.parametrize("loss", CLASS_LOSSES.values(), ids=CLASS_LOSSES)
def test_scores_that_are_sure_have_finite_losses_and_gradients(loss: ClassLoss) -> None:
    scores, labels = batch()
    for sign in (1, -1):
        sure = (sign * 200 * scores.sign()).requires_grad_()
        value = loss([sure], labels, WEIGHTS)
        value.backward()

        assert sure.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(sure.grad).all()


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

"""Losses: compared with naive loops and with values computed by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_export import losses
from model_export.losses import (
    LOSSES,
    bce_dice,
    border_weighted_bce,
    border_weights,
    deep_supervised_bce,
    detail_target,
    dice,
    distilled,
    ohem_bce,
    summed_cross_entropy,
)

pytestmark = pytest.mark.torch


def example(count: int = 3, maps: int = 4) -> tuple[list[Tensor], Tensor]:
    generator = torch.manual_seed(5)
    logits = [3 * torch.randn(count, 1, 12, 17, generator=generator) for _ in range(maps)]
    return logits, (torch.rand(count, 1, 12, 17, generator=generator) > 0.6).float()


def naive_bce(logits: Tensor, truth: Tensor) -> NDArray[np.float64]:
    """Cross-entropy pixel by pixel, (N, H, W)."""
    found = 1 / (1 + np.exp(-logits.double().numpy()[:, 0]))
    expected = truth.double().numpy()[:, 0]
    return -(expected * np.log(found) + (1 - expected) * np.log(1 - found))


def test_deep_supervision_sums_the_cross_entropies_of_all_maps() -> None:
    logits, truth = example()
    expected = sum(naive_bce(each, truth).mean() for each in logits)

    assert float(deep_supervised_bce(logits, truth)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_fcn_is_summed_over_the_pixels_of_the_first_map() -> None:
    logits, truth = example()

    assert float(summed_cross_entropy(logits, truth)) == pytest.approx(
        naive_bce(logits[0], truth).sum(axis=(1, 2)).mean(), rel=1e-5
    )


def test_the_softmax_of_two_classes_equals_the_sigmoid_of_their_difference() -> None:
    scores = torch.randn(2, 2, 5, 5, generator=torch.manual_seed(6))
    truth = (torch.rand(2, 5, 5) > 0.5).long()
    softmax = torch.nn.functional.cross_entropy(scores, truth, reduction="none").flatten(1).sum(1).mean()

    assert torch.allclose(
        summed_cross_entropy([scores[:, 1:] - scores[:, :1]], truth[:, None].float()), softmax
    )


def test_the_dice_ratio_matches_a_value_by_hand() -> None:
    """Of four pixels, two are marked with certainty, one of them correctly; one is missed."""
    logits = torch.tensor([[[[100.0, 100.0], [-100.0, -100.0]]]])
    truth = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])

    assert float(dice(logits, truth)) == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))


def test_bce_and_dice_are_averaged_over_heads() -> None:
    logits, truth = example()
    expected = np.mean([0.5 * naive_bce(each, truth).mean() + float(dice(each, truth)) for each in logits])

    assert float(bce_dice(logits, truth)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hard_part", [0.5, 0.01])
def test_ohem_keeps_hard_pixels_but_at_least_a_sixteenth(hard_part: float) -> None:
    generator = torch.manual_seed(7)
    truth = (torch.rand(2, 1, 16, 16, generator=generator) > 0.5).float()
    right = torch.where(torch.rand(2, 1, 16, 16, generator=generator) < hard_part, -1.0, 6.0)
    logits = (2 * truth - 1) * right
    each = np.sort(naive_bce(logits, truth).ravel())[::-1]
    hard = each[each > -math.log(0.7)]
    kept = hard if len(hard) >= each.size // 16 else each[: each.size // 16]

    assert float(ohem_bce(logits, truth)) == pytest.approx(kept.mean(), rel=1e-5)


def naive_details(mask: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The pyramid of Laplacians, pixel by pixel."""
    height, width = mask.shape
    mixed = np.zeros(mask.shape)
    for stride, share in ((1, 0.6), (2, 0.3), (4, 0.1)):
        for row in range(height):
            for column in range(width):
                top, left = row // stride * stride, column // stride * stride
                around = [
                    mask[r, c]
                    for r in range(top - 1, top + 2)
                    for c in range(left - 1, left + 2)
                    if 0 <= r < height and 0 <= c < width
                ]
                mixed[row, column] += share * (9 * mask[top, left] - sum(around) > 0.1)
    return mixed > 0.1 + 1e-9


def test_details_mark_the_inner_side_of_the_border() -> None:
    """Also at the border of the picture, where the convolution is padded with zeros."""
    mask = np.zeros((16, 24))
    mask[4:12, 6:20] = 1
    mask[0, :5] = 1
    found = detail_target(torch.from_numpy(mask)[None, None].float())[0, 0].numpy()

    assert np.array_equal(found == 1, naive_details(mask))
    assert found[8, 12] == 0
    assert (found[4, 6:20] == 1).all()
    assert not found[(mask == 0) & (naive_distance(mask > 0) > 3)].any()


def test_details_of_a_soft_mask_are_those_of_its_hard_labels() -> None:
    """Every slope of a matte would be a border otherwise."""
    row = torch.linspace(0, 1, 48).expand(32, 48)
    soft = row[None, None].clone()
    target = detail_target(soft)

    assert torch.equal(target, detail_target((soft >= 0.5).float()))
    assert not target[..., 4:-4, 32:44].any()


def test_the_loss_of_stdc_is_the_sum_of_its_five_terms() -> None:
    logits, truth = example()
    target = detail_target(truth)
    expected = sum(float(ohem_bce(each, truth)) for each in logits[:3])
    expected += naive_bce(logits[3], target).mean() + float(dice(logits[3], target))

    assert float(losses.stdc(logits, truth)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.stdc(logits[:1], truth)) == pytest.approx(float(ohem_bce(logits[0], truth)))


def test_the_second_stdc_loss_adds_dice_of_the_three_maps() -> None:
    logits, truth = example()
    more = [float(dice(each, truth)) for each in logits[:3]]

    assert float(losses.stdc_dice(logits, truth)) == pytest.approx(
        float(losses.stdc(logits, truth)) + sum(more), rel=1e-5
    )
    assert float(losses.stdc_dice(logits[:1], truth)) == pytest.approx(
        float(ohem_bce(logits[0], truth)) + more[0], rel=1e-5
    )


def naive_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each pixel to the nearest pixel of a mask."""
    points = np.argwhere(mask)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    return np.sqrt((rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2).min(-1)


def test_border_weights_between_two_objects_match_the_paper() -> None:
    mask = np.zeros((20, 40), bool)
    one, two = mask.copy(), mask.copy()
    one[5:15, 4:14], two[3:17, 18:30] = True, True
    both = naive_distance(one) + naive_distance(two)
    expected = 1 + np.where(one | two, 0, 10 * np.exp(-(both**2) / 50))

    assert np.allclose(border_weights(one | two), expected, atol=1e-4)


def test_border_weights_around_one_object_depend_on_the_distance() -> None:
    mask = np.zeros((20, 30), bool)
    mask[6:14, 8:20] = True
    distance = np.where(mask, naive_distance(~mask), naive_distance(mask))

    assert np.allclose(border_weights(mask), 1 + 10 * np.exp(-(distance**2) / 50), atol=1e-4)
    assert (border_weights(np.zeros((5, 5), bool)) == 1).all()
    assert (border_weights(np.ones((5, 5), bool)) == 1).all()


def test_the_weighted_cross_entropy_weights_each_pixel() -> None:
    logits, _ = example()
    truth = torch.zeros(3, 1, 12, 17)
    truth[:, :, 3:8, 4:9] = 1
    weights = border_weights(truth[0, 0].numpy() > 0)

    assert float(border_weighted_bce(logits, truth)) == pytest.approx(
        (weights * naive_bce(logits[0], truth)).mean(), rel=1e-5
    )


def test_distillation_mixes_truth_and_teacher_by_trust() -> None:
    logits, truth = example()
    teacher = torch.rand(3, 1, 12, 17)
    mixed = distilled(deep_supervised_bce, trust=0.25)(logits, truth, teacher)
    expected = 0.75 * float(deep_supervised_bce(logits, truth)) + 0.25 * naive_bce(logits[0], teacher).mean()

    assert float(mixed) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_right_map_has_a_lower_loss_than_a_wrong_one(loss: losses.Loss) -> None:
    _, truth = example()
    target = detail_target(truth) if loss in (losses.stdc, losses.stdc_dice) else truth
    right, wrong = ([sign * 8 * (2 * truth - 1)] * 3 for sign in (1, -1))
    details = 8 * (2 * target - 1)

    assert float(loss([*right, details], truth)) < 0.2 * float(loss([*wrong, -details], truth))

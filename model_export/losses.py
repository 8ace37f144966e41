"""Losses: logits and true masks become the scalar that training minimises, one function per paper.

All losses take the tuple of logits that a network returns, each (N, 1, H, W) float32, and the truth, (N, 1,
H, W) float32 in [0, 1], and return a scalar. Means are over pixels and batch, so a loss does not depend on
the size of a picture; ``summed_cross_entropy`` is the exception.

References:
    Qin et al. 2020, arXiv:2005.09007 (U²-Net); Ronneberger et al. 2015, arXiv:1505.04597 (U-Net);
    Zhou et al. 2018, arXiv:1807.10165 (U-Net++); Fan et al. 2021, arXiv:2104.13188 (STDC-Seg);
    Shelhamer et al. 2017, arXiv:1605.06211 (FCN); Shrivastava et al. 2016, arXiv:1604.03540 (OHEM);
    Hinton et al. 2015, arXiv:1503.02531 (distillation).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Logits = Sequence[Tensor]
Loss = Callable[[Logits, Tensor], Tensor]

BORDER_WEIGHT, BORDER_SIGMA_PX = 10.0, 5.0  # w0 and σ of U-Net
HARD_LOSS_THRESHOLD = -math.log(0.7)  # OHEM keeps pixels whose true class has a probability below 0.7
MIN_KEPT_SHARE = 1 / 16  # of all pixels, in OHEM
LAPLACIAN = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))
DETAIL_STRIDES, DETAIL_MIX, DETAIL_THRESHOLD = (1, 2, 4), (0.6, 0.3, 0.1), 0.1
LEVEL_WEIGHTS = (1.0, 0.5, 0.4, 0.3, 0.2)  # of bce_iou
SMOOTH = 1.0  # of the ratios of Dice and IoU, so that two empty masks agree


def deep_supervised_bce(logits: Logits, truth: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of all maps, each with weight 1 (U²-Net)."""
    return torch.stack([_bce(each, truth) for each in logits]).sum()


def border_weighted_bce(logits: Logits, truth: Tensor) -> Tensor:
    """Return the cross-entropy weighted by ``border_weights`` (U-Net).

    The paper's softmax over two classes is the sigmoid of the difference of their scores, which is the logit.
    """
    masks = (truth >= 0.5).squeeze(1).cpu().numpy()
    weights = torch.from_numpy(np.stack([border_weights(mask) for mask in masks])).unsqueeze(1)
    losses = functional.binary_cross_entropy_with_logits(logits[0], truth, reduction="none")
    return (weights.to(losses) * losses).mean()


def border_weights(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return U-Net's weight map: 1 plus up to 10 between close objects, or at the border of a single one.

    The paper adds ``w0 · exp(-(d1 + d2)² / 2σ²)``, d1 and d2 being the distances to the nearest and the
    second-nearest object, on the background between them. If there is only one object, only d1 is used, the
    distance to its contour, on both sides. Classes are not balanced in addition (w_c = 1).

    Args:
        mask: (H, W) bool; its 8-connected components are the objects.

    Returns:
        (H, W) float32 from 1 to 11; all 1 if there is no object or no background.
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    if count == 1 or mask.all():
        return np.ones(mask.shape, dtype=np.float32)
    if count == 2:
        outside, inside = (_distances_to(~region) for region in (mask, ~mask))
        distance = np.where(mask, inside, outside)
    else:
        nearest = np.sort(np.stack([_distances_to(labels != label) for label in range(1, count)]), axis=0)
        distance = np.where(mask, np.inf, nearest[0] + nearest[1])
    return (1 + BORDER_WEIGHT * np.exp(-(distance**2) / (2 * BORDER_SIGMA_PX**2))).astype(np.float32)


def bce_dice(logits: Logits, truth: Tensor) -> Tensor:
    """Return the mean over heads of half the cross-entropy plus one minus Dice (U-Net++).

    The paper prints only the foreground term of the cross-entropy; this function uses both terms.
    """
    return torch.stack([0.5 * _bce(each, truth) + dice(each, truth) for each in logits]).mean()


def bce_iou(logits: Logits, truth: Tensor) -> Tensor:
    """Return the cross-entropy plus one minus the soft IoU of all maps; deeper maps weigh less.

    Args:
        logits: The served map, then those of the levels from the finest to the deepest, at most four.
        truth: (N, 1, H, W) in [0, 1].
    """
    losses = [_bce(each, truth) + soft_iou(each, truth) for each in logits]
    return torch.stack([w * each for w, each in zip(LEVEL_WEIGHTS, losses, strict=False)]).sum()


def soft_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """Return one minus intersection over union of each picture, averaged; smoothed by 1 pixel."""
    predicted = torch.sigmoid(logits).flatten(1)
    expected = truth.flatten(1)
    overlap = (predicted * expected).sum(1)
    union = predicted.sum(1) + expected.sum(1) - overlap
    return (1 - (overlap + SMOOTH) / (union + SMOOTH)).mean()


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Return one minus the Dice ratio of each picture, averaged; the ratio is smoothed by 1 pixel."""
    predicted = torch.sigmoid(logits).flatten(1)
    expected = truth.flatten(1)
    overlap = (predicted * expected).sum(1)
    return (1 - (2 * overlap + SMOOTH) / (predicted.sum(1) + expected.sum(1) + SMOOTH)).mean()


def stdc(logits: Logits, truth: Tensor) -> Tensor:
    """Return STDC-Seg's sum: OHEM of the map and both context heads, plus BCE and Dice of the details.

    Args:
        logits: Those of the map, the context at 1/8 and at 1/16, and the details; in evaluation only the map.
        truth: (N, 1, H, W) in [0, 1].
    """
    return _with_details(ohem_bce, logits, truth)


def stdc_dice(logits: Logits, truth: Tensor) -> Tensor:
    """Return the same sum with Dice in addition to OHEM for the map and both context heads.

    For saliency maps, whose values are used directly: OHEM alone ignores pixels whose class has reached 0.7,
    so the map stays grey.
    """
    return _with_details(_ohem_and_dice, logits, truth)


def _with_details(map_loss: Callable[[Tensor, Tensor], Tensor], logits: Logits, truth: Tensor) -> Tensor:
    if len(logits) == 1:
        return map_loss(logits[0], truth)
    *maps, details = logits
    target = detail_target(truth)
    losses = [map_loss(each, truth) for each in maps]
    return torch.stack((*losses, _bce(details, target), dice(details, target))).sum()


def _ohem_and_dice(logits: Tensor, truth: Tensor) -> Tensor:
    return ohem_bce(logits, truth) + dice(logits, truth)


def ohem_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean cross-entropy of the hard pixels, at least a sixteenth of all pixels (OHEM)."""
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten()
    min_kept = max(1, int(losses.numel() * MIN_KEPT_SHARE))
    hard = losses > HARD_LOSS_THRESHOLD
    if int(hard.sum()) >= min_kept:
        return losses[hard].mean()
    return losses.topk(min_kept).values.mean()


def detail_target(truth: Tensor) -> Tensor:
    """Return the borders of a mask, detected at three scales, as (N, 1, H, W) of 0 and 1.

    Laplacians with strides 1, 2 and 4 are thresholded at 0.1, enlarged, mixed by 0.6, 0.3 and 0.1, and
    thresholded again. As in the paper they run on hard labels, so a soft mask is first cut at 0.5: otherwise
    every slope of a matte would be a border. The result marks the inner side of the border. (In the authors'
    code the mix is a layer, but it follows a threshold, so it never learns.)
    """
    kernel = torch.tensor(LAPLACIAN).to(truth)[None, None]
    labels = (truth >= 0.5).to(truth)
    mixed = torch.zeros_like(truth)
    for stride, share in zip(DETAIL_STRIDES, DETAIL_MIX, strict=True):
        edges = functional.conv2d(labels, kernel, stride=stride, padding=1).clamp(min=0)
        marked = (edges > DETAIL_THRESHOLD).to(truth)
        mixed = mixed + share * functional.interpolate(marked, size=truth.shape[-2:], mode="nearest")
    return (mixed > DETAIL_THRESHOLD).to(truth)


def summed_cross_entropy(logits: Logits, truth: Tensor) -> Tensor:
    """Return the cross-entropy summed over pixels, and averaged only over the batch (FCN).

    The paper's learning rates, 1e-10 and below, are for this sum and for a batch of one. A softmax over two
    classes is the sigmoid of the difference of their scores, which is the logit.
    """
    losses = functional.binary_cross_entropy_with_logits(logits[0], truth, reduction="none")
    return losses.flatten(1).sum(1).mean()


def distilled(loss: Loss, *, trust: float) -> Callable[[Logits, Tensor, Tensor], Tensor]:
    """Return a loss that also compares the served map with the teacher's.

    Args:
        loss: The loss of all maps against the truth.
        trust: The teacher's share, 0 to 1.

    Returns:
        A function of logits, truth and teacher map, (N, 1, H, W) in [0, 1]: ``(1 - trust)`` times the loss,
        plus ``trust`` times the cross-entropy of the first map with the teacher's.
    """

    def distilled_loss(logits: Logits, truth: Tensor, teacher: Tensor) -> Tensor:
        return (1 - trust) * loss(logits, truth) + trust * _bce(logits[0], teacher)

    return distilled_loss


def _bce(logits: Tensor, truth: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, truth)


def _distances_to(outside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance of each pixel to the nearest pixel that is not ``outside``, in pixels."""
    return np.asarray(cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


LOSSES: Mapping[str, Loss] = {
    "deep_supervised_bce": deep_supervised_bce,
    "border_weighted_bce": border_weighted_bce,
    "bce_dice": bce_dice,
    "bce_iou": bce_iou,
    "stdc": stdc,
    "stdc_dice": stdc_dice,
    "summed_cross_entropy": summed_cross_entropy,
}

"""Losses: logits and true masks become the number that training makes small, one function a paper.

All take the tuple of logits that a network returns, each (N, 1, H, W) float32, and the truth, (N, 1, H, W)
float32 in [0, 1], and return a scalar. Means are over pixels and batch, so that a loss does not depend on the
size of a picture, with one exception that says so.

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
HARD_ABOVE = -math.log(0.7)  # OHEM keeps a pixel whose true class has less than 0.7
KEPT_AT_LEAST = 1 / 16  # of all pixels
LAPLACIAN = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))
DETAIL_STRIDES, DETAIL_MIX, DETAIL_ABOVE = (1, 2, 4), (0.6, 0.3, 0.1), 0.1
SMOOTH = 1.0  # of the Dice ratio, so that two empty masks agree


def deep_supervised_bce(logits: Logits, truth: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of all maps, each of weight 1 (U²-Net)."""
    return torch.stack([_bce(each, truth) for each in logits]).sum()


def border_weighted_bce(logits: Logits, truth: Tensor) -> Tensor:
    """Return the cross-entropy weighted by ``border_weights`` (U-Net).

    The paper's softmax over two classes is the sigmoid of the difference of their scores, which is the logit.
    """
    masks = (truth >= 0.5).squeeze(1).cpu().numpy()
    weights = torch.from_numpy(np.stack([border_weights(mask) for mask in masks])).unsqueeze(1)
    each = functional.binary_cross_entropy_with_logits(logits[0], truth, reduction="none")
    return (weights.to(each) * each).mean()


def border_weights(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return U-Net's weight map: 1 plus up to 10 where two objects are close, or at the border of one.

    The paper adds ``w0 · exp(-(d1 + d2)² / 2σ²)``, d1 and d2 being the distances to the nearest and the
    second-nearest cell, on the background between them. Where there is one object there is no second, and d1
    alone is taken, to the contour, on both of its sides. Classes are not balanced beside (w_c = 1).

    Args:
        mask: (H, W) bool; objects are its 8-connected components.

    Returns:
        (H, W) float32 of 1 to 11; all 1 if there is no object, or nothing else.
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    if count == 1 or mask.all():
        return np.ones(mask.shape, dtype=np.float32)
    if count == 2:
        outside, inside = (_distances(~region) for region in (mask, ~mask))
        apart = np.where(mask, inside, outside)
    else:
        nearest = np.sort(np.stack([_distances(labels != label) for label in range(1, count)]), axis=0)
        apart = np.where(mask, np.inf, nearest[0] + nearest[1])
    return (1 + BORDER_WEIGHT * np.exp(-(apart**2) / (2 * BORDER_SIGMA_PX**2))).astype(np.float32)


def bce_dice(logits: Logits, truth: Tensor) -> Tensor:
    """Return the mean over heads of half the cross-entropy plus one minus Dice (U-Net++).

    The paper prints only the half of the cross-entropy that concerns the object; this is the whole of it.
    """
    return torch.stack([0.5 * _bce(each, truth) + dice(each, truth) for each in logits]).mean()


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Return one minus the Dice ratio of each picture, averaged; smoothed by 1 pixel."""
    found = torch.sigmoid(logits).flatten(1)
    wanted = truth.flatten(1)
    both = (found * wanted).sum(1)
    return (1 - (2 * both + SMOOTH) / (found.sum(1) + wanted.sum(1) + SMOOTH)).mean()


def stdc(logits: Logits, truth: Tensor) -> Tensor:
    """Return STDC-Seg's sum: OHEM of the map and both context heads, BCE and Dice of the details.

    Args:
        logits: Of the map, the context at 1/8 and at 1/16, and the details; in evaluation the map alone.
        truth: (N, 1, H, W) in [0, 1].
    """
    return _with_details(ohem_bce, logits, truth)


def stdc_dice(logits: Logits, truth: Tensor) -> Tensor:
    """Return the same sum with Dice beside OHEM for the map and both context heads.

    For saliency maps, which are used as they are: OHEM alone lets a pixel rest whose class has 0.7, and the
    map stays grey.
    """
    return _with_details(_ohem_and_dice, logits, truth)


def _with_details(of_map: Callable[[Tensor, Tensor], Tensor], logits: Logits, truth: Tensor) -> Tensor:
    if len(logits) == 1:
        return of_map(logits[0], truth)
    *maps, details = logits
    target = detail_target(truth)
    losses = [of_map(each, truth) for each in maps]
    return torch.stack((*losses, _bce(details, target), dice(details, target))).sum()


def _ohem_and_dice(logits: Tensor, truth: Tensor) -> Tensor:
    return ohem_bce(logits, truth) + dice(logits, truth)


def ohem_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean cross-entropy of the hard pixels, at least a sixteenth of all (OHEM)."""
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten()
    at_least = max(1, int(each.numel() * KEPT_AT_LEAST))
    hard = each > HARD_ABOVE
    if int(hard.sum()) >= at_least:
        return each[hard].mean()
    return each.topk(at_least).values.mean()


def detail_target(truth: Tensor) -> Tensor:
    """Return where a mask has borders, seen at three scales, as (N, 1, H, W) of 0 and 1.

    A Laplacian with strides 1, 2 and 4 is cut at 0.1, enlarged, mixed by 0.6, 0.3 and 0.1, and cut again. Of
    a mask of 0 and 1 it marks the inner side of the border. (In the authors' code the mix is a layer, but one
    behind a threshold, so that it never learns.)
    """
    kernel = torch.tensor(LAPLACIAN).to(truth)[None, None]
    mixed = torch.zeros_like(truth)
    for stride, share in zip(DETAIL_STRIDES, DETAIL_MIX, strict=True):
        edges = functional.conv2d(truth, kernel, stride=stride, padding=1).clamp(min=0)
        marked = (edges > DETAIL_ABOVE).to(truth)
        mixed = mixed + share * functional.interpolate(marked, size=truth.shape[-2:], mode="nearest")
    return (mixed > DETAIL_ABOVE).to(truth)


def summed_cross_entropy(logits: Logits, truth: Tensor) -> Tensor:
    """Return the cross-entropy summed over pixels, and averaged over the batch alone (FCN).

    The paper's learning rates, 1e-10 and below, are for this sum and for a batch of one. A softmax over two
    classes is the sigmoid of the difference of their scores, which is the logit.
    """
    each = functional.binary_cross_entropy_with_logits(logits[0], truth, reduction="none")
    return each.flatten(1).sum(1).mean()


def distilled(loss: Loss, *, trust: float) -> Callable[[Logits, Tensor, Tensor], Tensor]:
    """Return a loss that also asks the served map to be the teacher's.

    Args:
        loss: What is asked of all maps by the truth.
        trust: The teacher's share, 0 to 1.

    Returns:
        A function of logits, truth and teacher map, (N, 1, H, W) in [0, 1]: ``(1 - trust)`` of the loss, and
        ``trust`` of the cross-entropy of the first map with the teacher's.
    """

    def both(logits: Logits, truth: Tensor, teacher: Tensor) -> Tensor:
        return (1 - trust) * loss(logits, truth) + trust * _bce(logits[0], teacher)

    return both


def _bce(logits: Tensor, truth: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, truth)


def _distances(outside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how far each pixel is from the nearest that is not ``outside``, in pixels; 0 there."""
    return np.asarray(cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


LOSSES: Mapping[str, Loss] = {
    "deep_supervised_bce": deep_supervised_bce,
    "border_weighted_bce": border_weighted_bce,
    "bce_dice": bce_dice,
    "stdc": stdc,
    "stdc_dice": stdc_dice,
    "summed_cross_entropy": summed_cross_entropy,
}

"""Class losses: score maps and label maps become the scalar that training minimises.

References:
    Long, Shelhamer and Darrell 2015, arXiv:1411.4038 (softmax and cross-entropy per pixel).
    Milletari et al. 2016, arXiv:1606.04797 (soft Dice); Isensee et al. 2018, arXiv:1809.10486 (its sum with
    the cross-entropy).
    Lin et al. 2017, arXiv:1708.02002 (focal loss).
    Eigen and Fergus 2015, arXiv:1411.4734, section 4.4 (median frequency balancing).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model_export.errors import CommandFailed
from model_export.label_maps import VOID, Labels
from model_export.losses import SMOOTH

ClassLoss = Callable[[Sequence[Tensor], Tensor, Sequence[float]], Tensor]
FOCUS = 2.0  # γ of the focal loss; the paper's best


class ClassMissing(CommandFailed):
    """A class that must be weighted by its frequency occurs in no picture."""


def class_cross_entropy(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weighted cross-entropy of the softmax over classes, a scalar.

    Each map's loss is ``Σ w_l · -log p_l / Σ w_l`` over the pixels of the batch that are not void, with p_l
    the probability of a pixel's true class and w_l the weight of that class. The result is the mean over
    maps, and 0 without such pixels.

    Args:
        logits: Maps of (N, K, H, W). Maps of another number of channels, such as STDC's details, have no
            target and are left out.
        labels: (N, 1, H, W), whole numbers from 0 to K - 1; 255 is void.
        weights: Of the K classes.
    """
    target = labels.squeeze(1).long()
    class_weights = torch.tensor(weights, dtype=logits[0].dtype, device=target.device)
    total = class_weights[target[target != VOID]].sum()
    sums = [
        functional.cross_entropy(each, target, class_weights, ignore_index=VOID, reduction="sum")
        for each in logits
        if each.shape[1] == len(weights)
    ]
    return torch.stack(sums).mean() / total.clamp(min=torch.finfo(total.dtype).tiny)


def class_cross_entropy_dice(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Return ``class_cross_entropy`` plus one minus the soft Dice ratio of the classes, a scalar.

    With p_l the probability of class l and t_l 1 where it is true, the ratio of a class is
    ``(2 Σ p_l t_l + 1) / (Σ p_l + Σ t_l + 1)``, summed over all pixels of the batch that are not void; 1
    pixel keeps it smooth, as in ``losses.dice``. It is averaged over the classes that occur in the batch, and
    over maps. Only the cross-entropy is weighted: every class has the same share of the mean of ratios.

    Args:
        logits: As for ``class_cross_entropy``.
        labels: As for ``class_cross_entropy``.
        weights: Of the K classes in the cross-entropy.
    """
    losses = [_dice(each, labels) for each in logits if each.shape[1] == len(weights)]
    return class_cross_entropy(logits, labels, weights) + torch.stack(losses).mean()


def class_focal(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weighted focal loss of the softmax over classes, a scalar.

    It is ``class_cross_entropy`` with each pixel's term multiplied by ``(1 - p_l)^2``, so that sure pixels
    count little. The paper's α_t is the weight of the class; its sum is divided by the number of objects, and
    this one by ``Σ w_l``, so that the loss does not depend on the size of a picture.

    Args:
        logits: As for ``class_cross_entropy``.
        labels: As for ``class_cross_entropy``.
        weights: Of the K classes.
    """
    known = labels != VOID  # (N, 1, H, W)
    target = torch.where(known, labels, 0).long()
    shares = torch.tensor(weights, dtype=logits[0].dtype, device=target.device)[target] * known
    shares = shares / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
    losses = []
    for each in logits:
        if each.shape[1] == len(weights):
            log_p = functional.log_softmax(each, dim=1).gather(1, target)  # (N, K, H, W) -> (N, 1, H, W)
            losses.append((shares * ((1 - log_p.exp()) ** FOCUS * -log_p)).sum())
    return torch.stack(losses).mean()


def _dice(scores: Tensor, labels: Tensor) -> Tensor:
    """Return one minus the Dice ratio, averaged over the classes that occur; 0 if none does."""
    known = labels != VOID  # (N, 1, H, W)
    target = torch.where(known, labels, 0).long().squeeze(1)
    truth = functional.one_hot(target, scores.shape[1]).permute(0, 3, 1, 2) * known  # (N, K, H, W)
    predicted = functional.softmax(scores, dim=1) * known
    overlap, size, true = (each.sum(dim=(0, 2, 3)) for each in (predicted * truth, predicted + truth, truth))
    losses, occurs = 1 - (2 * overlap + SMOOTH) / (size + SMOOTH), true > 0  # (K,)
    return (losses * occurs).sum() / occurs.sum().clamp(min=1)


def equal(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 for each class of (N, K) counts of pixels, per picture and class."""
    return np.ones(pixels.shape[1])


def inverse_frequency(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``n / (K · n_l)``: all classes have the same share of the loss, and the mean pixel weighs 1."""
    return np.asarray(pixels.sum() / (pixels.shape[1] * pixels.sum(axis=0)))


def median_frequency(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of all frequencies divided by the class's own.

    The frequency of a class is its share of the pixels of those pictures that have it.
    """
    occurs = pixels > 0
    frequencies = pixels.sum(axis=0) / (occurs * pixels.sum(axis=1, keepdims=True)).sum(axis=0)
    return np.asarray(np.median(frequencies) / frequencies)


def weigh_classes(by: str, labels: Labels, names: Sequence[str]) -> tuple[float, ...]:
    """Return the weights of the classes in the loss.

    Args:
        by: A function in ``CLASS_WEIGHTS``.
        labels: (N, H, W), the label maps to learn from.
        names: The K classes.

    Raises:
        ClassMissing: A class occurs in no picture, so it has no frequency.
    """
    count = len(names)
    pixels = np.array([np.bincount(each.ravel(), minlength=VOID + 1)[:count] for each in labels])
    missing = [name for name, total in zip(names, pixels.sum(axis=0), strict=True) if not total]
    if missing and by != "equal":
        raise ClassMissing(
            f"No picture to learn from has the class {missing[0]}, so {by} gives it no weight. Remove the "
            'class or add pictures of it, or choose the weights: --set class_weights="equal"'
        )
    return tuple(float(weight) for weight in CLASS_WEIGHTS[by](pixels))


CLASS_LOSSES: Mapping[str, ClassLoss] = {
    "class_cross_entropy": class_cross_entropy,
    "class_cross_entropy_dice": class_cross_entropy_dice,
    "class_focal": class_focal,
}
CLASS_WEIGHTS: Mapping[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "equal": equal,
    "inverse_frequency": inverse_frequency,
    "median_frequency": median_frequency,
}

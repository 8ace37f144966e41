"""Class losses: score maps and label maps become the scalar that training minimises.

References:
    Long, Shelhamer and Darrell 2015, arXiv:1411.4038 (softmax and cross-entropy per pixel).
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


CLASS_WEIGHTS: Mapping[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "equal": equal,
    "inverse_frequency": inverse_frequency,
    "median_frequency": median_frequency,
}

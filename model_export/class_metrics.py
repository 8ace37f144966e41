"""Class metrics: the figures of semantic segmentation, from predicted and true label maps.

With n_ij the number of pixels of class i that are predicted as class j, and t_i = Σ_j n_ij:

=========================  ==============================================
pixel accuracy             Σ_i n_ii / Σ_i t_i
mean accuracy              mean over i of n_ii / t_i
mean IoU                   mean over i of n_ii / (t_i + Σ_j n_ji - n_ii)
frequency-weighted IoU     mean of the same ratio, weighted by t_i
=========================  ==============================================

The counts are those of the whole set, not of one picture. A class that occurs in no truth has no accuracy; if
it is never predicted either, it has no IoU. Such classes are left out of the means, as in the authors' code.

References:
    Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    arXiv:1411.4038, section 5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.label_maps import VOID, Labels

Confusion = NDArray[np.int64]
"""(K, K): row i has the pixels of class i, by the class that is predicted for them."""

CLASS_FIGURES = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
"""The figures of all classes together, by their names in curves and manifests."""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The figures of a set, each in [0, 1]; 1 is perfect.

    ``accuracy`` and ``iou`` have one figure per class, NaN where it is not defined; ``pixels`` is the number
    of true pixels of each class.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    pixels: tuple[int, ...]
    accuracy: tuple[float, ...]
    iou: tuple[float, ...]

    def of_all_classes(self) -> dict[str, float]:
        """Return the four figures of the whole set by name."""
        return {name: getattr(self, name) for name in CLASS_FIGURES}


def confusion_matrix(predicted: Labels, truth: Labels, *, count: int) -> Confusion:
    """Count pixels by true and predicted class; the matrices of several pictures can be added.

    Args:
        predicted: Labels from 0 to ``count`` - 1, of any shape.
        truth: Labels of the same shape; pixels of 255 (void) are not counted.
        count: K, the number of classes.

    Returns:
        (K, K) int64.

    Raises:
        ValueError: The shapes differ, or there is another label.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"The prediction is {predicted.shape}, the truth {truth.shape}.")
    is_known = truth != VOID
    rows, columns = truth[is_known].astype(np.int64), predicted[is_known].astype(np.int64)
    if max(rows.max(initial=0), columns.max(initial=0)) >= count:
        raise ValueError(f"There are labels beyond those of {count} classes.")
    return np.bincount(count * rows + columns, minlength=count**2).reshape(count, count)


def class_figures(confusion: Confusion) -> ClassFigures:
    """Return the figures of a set from its counts.

    Raises:
        ValueError: No pixel was counted.
    """
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    if not true.any():
        raise ValueError("The figures of no pixels are not defined.")
    accuracy, iou = _ratio(hits, true), _ratio(hits, true + predicted - hits)
    occurs = true > 0
    return ClassFigures(
        pixel_accuracy=float(hits.sum() / true.sum()),
        mean_accuracy=float(np.nanmean(accuracy)),
        mean_iou=float(np.nanmean(iou)),
        frequency_weighted_iou=float((true[occurs] * iou[occurs]).sum() / true.sum()),
        pixels=tuple(true.tolist()),
        accuracy=tuple(accuracy.tolist()),
        iou=tuple(iou.tolist()),
    )


def _ratio(numerator: Confusion, denominator: Confusion) -> NDArray[np.float64]:
    """Divide; NaN where the denominator is 0."""
    undefined = np.full(numerator.shape, np.nan)
    return np.asarray(np.divide(numerator, denominator, out=undefined, where=denominator > 0))

"""Metrics: saliency maps and true masks become the figures that the saliency papers print.

References:
    Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009 (F-measure, β² = 0.3).
    Qin et al., "U²-Net", 2020, arXiv:2005.09007, section 4.3 (the protocol).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

BETA_SQUARED = 0.3  # Achanta et al. 2009: precision weighs more than recall
LEVELS = 256  # thresholds 0 … 255 of an 8-bit map


def mean_absolute_error(saliency: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Return the mean of |S - G| over the pixels of one picture.

    A dataset's figure is the mean over its pictures, whatever their sizes.

    Args:
        saliency: (H, W) float32 in [0, 1].
        truth: (H, W) bool, the foreground.

    Returns:
        A figure in [0, 1]; 0 is perfect.

    Raises:
        ValueError: The shapes differ.
    """
    _require_one_shape(saliency, truth)
    return float(np.mean(np.abs(saliency.astype(np.float64) - truth)))


def max_f_beta(
    pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], *, beta_squared: float = BETA_SQUARED
) -> float:
    """Return the largest F-measure over all thresholds, after averaging over the dataset.

    The order matters and differs from tool to tool. Here it is the papers': for each threshold,
    precision and recall of every picture, their means over the *dataset*, F of the two means;
    then the largest F. (Taking each picture's own best F first gives a higher figure.)

    A pixel is foreground at threshold t if its 8-bit value is at least t. Where nothing is
    foreground, the precision is 0; where nothing should be, the recall is 0.

    Args:
        pairs: Of each picture the saliency, (H, W) float32 in [0, 1], rounded here to 8 bits
            (half to even), and the true foreground, (H, W) bool. Sizes may differ from picture to
            picture. Read once, so that a dataset need not be held.
        beta_squared: Weight of recall against precision.

    Returns:
        A figure in [0, 1]; 1 is perfect.

    Raises:
        ValueError: There are no pictures, or the shapes of a pair differ.
    """
    precision_sum, recall_sum = np.zeros(LEVELS), np.zeros(LEVELS)
    pictures = 0
    for saliency, truth in pairs:
        precision, recall = precision_and_recall(saliency, truth)
        precision_sum += precision
        recall_sum += recall
        pictures += 1
    if not pictures:
        raise ValueError("The F-measure of no pictures is not defined.")
    precision, recall = precision_sum / pictures, recall_sum / pictures
    weighted = beta_squared * precision + recall
    return float(np.max(_ratio((1 + beta_squared) * precision * recall, weighted)))


def precision_and_recall(
    saliency: NDArray[np.float32], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall of one picture at the thresholds 0 … 255.

    Args:
        saliency: (H, W) float32 in [0, 1].
        truth: (H, W) bool, the foreground.

    Returns:
        Two (256,) float64 in [0, 1].

    Raises:
        ValueError: The shapes differ.
    """
    _require_one_shape(saliency, truth)
    levels = np.clip(np.rint(saliency * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    hits = np.bincount(levels[truth], minlength=LEVELS)
    marked = np.bincount(levels.ravel(), minlength=LEVELS)
    # How many pixels reach a level: the sum over it and all above.
    hits_at, marked_at = (np.cumsum(counts[::-1])[::-1].astype(np.float64) for counts in (hits, marked))
    return _ratio(hits_at, marked_at), _ratio(hits_at, np.full(LEVELS, np.count_nonzero(truth), np.float64))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _require_one_shape(saliency: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
    if saliency.shape != truth.shape:
        raise ValueError(f"The saliency is {saliency.shape}, the truth {truth.shape}.")

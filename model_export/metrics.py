"""Metrics: saliency maps and true masks become the figures that the saliency papers print.

References:
    Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009 (F-measure, β² = 0.3).
    Ehrig and Euzenat, "Relaxed Precision and Recall for Ontology Matching", 2005 (relaxed boundaries).
    Qin et al., "U²-Net", 2020, arXiv:2005.09007, section 4.3 (the protocol).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

BETA_SQUARED = 0.3  # Achanta et al. 2009: precision weighs more than recall
LEVELS = 256  # thresholds 0 … 255 of an 8-bit map
SLACK_PX = 3  # ρ of the relaxed boundary measure, Qin et al. 2020

Curves = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Precision and recall of one picture at the thresholds 0 … 255, (256,) each."""


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
    return max_f_of_means([precision_and_recall(*pair) for pair in pairs], beta_squared=beta_squared)


def max_f_of_means(curves: Sequence[Curves], *, beta_squared: float = BETA_SQUARED) -> float:
    """Return the largest F-measure of a dataset whose pictures were measured one by one.

    Args:
        curves: What ``precision_and_recall`` gave of each picture.
        beta_squared: Weight of recall against precision.

    Raises:
        ValueError: There are no pictures.
    """
    if not curves:
        raise ValueError("The F-measure of no pictures is not defined.")
    precision, recall = np.mean(curves, axis=0)
    weighted = beta_squared * precision + recall
    return float(np.max(_ratio((1 + beta_squared) * precision * recall, weighted)))


def precision_and_recall(saliency: NDArray[np.float32], truth: NDArray[np.bool_]) -> Curves:
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


def relaxed_boundary_f(
    saliency: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    slack_px: int = SLACK_PX,
    beta_squared: float = BETA_SQUARED,
) -> float:
    """Return the F-measure of one picture's boundary, where a near miss is a hit.

    The map is cut at a half. A boundary is what a mask loses when it is eroded by a 3 × 3 square; the
    picture's own border is none. Precision is the part of the map's boundary that has the true one
    nearby, recall the part of the true one that has the map's nearby. A dataset's figure is the mean over
    its pictures. Where either mask has no boundary the figure is 0.

    Args:
        saliency: (H, W) float32 in [0, 1].
        truth: (H, W) bool, the foreground.
        slack_px: How far is nearby, in pixels, down and right alike (a square window).
        beta_squared: Weight of recall against precision.

    Returns:
        A figure in [0, 1]; 1 is perfect.

    Raises:
        ValueError: The shapes differ.
    """
    _require_one_shape(saliency, truth)
    found, wanted = _boundary(saliency >= 0.5), _boundary(truth)
    hits = np.array([np.sum(found & _widened(wanted, slack_px)), np.sum(wanted & _widened(found, slack_px))])
    precision, recall = _ratio(hits.astype(np.float64), np.array([found.sum(), wanted.sum()], np.float64))
    if precision + recall == 0:
        return 0.0
    return float((1 + beta_squared) * precision * recall / (beta_squared * precision + recall))


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what a 3 × 3 erosion takes away; beyond the picture counts as inside."""
    kept = np.pad(mask, 1, constant_values=True)
    for axis in (0, 1):
        kept = np.asarray(sliding_window_view(kept, 3, axis).all(axis=-1))
    return mask & ~kept


def _widened(mask: NDArray[np.bool_], by_px: int) -> NDArray[np.bool_]:
    """Dilate by a square of ``2 · by_px + 1`` pixels."""
    wide = np.pad(mask, by_px)
    for axis in (0, 1):
        wide = np.asarray(sliding_window_view(wide, 2 * by_px + 1, axis).any(axis=-1))
    return wide


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _require_one_shape(saliency: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
    if saliency.shape != truth.shape:
        raise ValueError(f"The saliency is {saliency.shape}, the truth {truth.shape}.")

"""Metrics: computes the figures of the saliency papers from saliency maps and true masks.

References:
    Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009 (F-measure, β² = 0.3).
    Ehrig and Euzenat, "Relaxed Precision and Recall for Ontology Matching", 2005 (relaxed boundaries).
    Qin et al., "U²-Net", 2020, arXiv:2005.09007, section 4.3 (the protocol).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

BETA_SQUARED = 0.3  # Achanta et al. 2009: weighs precision more than recall
LEVELS = 256  # thresholds 0 … 255 of an 8-bit map
SLACK_PX = 3  # ρ of the relaxed boundary measure, Qin et al. 2020

Curves = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Precision and recall of one picture at the thresholds 0 … 255, (256,) each."""


def mean_absolute_error(saliency: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Return the mean of |S - G| over the pixels of one picture.

    The figure of a dataset is the mean over its pictures, regardless of their sizes.

    Args:
        saliency: (H, W) float32 in [0, 1].
        truth: (H, W) bool, the foreground.

    Returns:
        A figure in [0, 1]; 0 is perfect.

    Raises:
        ValueError: The shapes differ.
    """
    _check_shapes(saliency, truth)
    return float(np.mean(np.abs(saliency.astype(np.float64) - truth)))


def max_f_beta(
    pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], *, beta_squared: float = BETA_SQUARED
) -> float:
    """Return the largest F-measure over all thresholds, after averaging over the dataset.

    The order matters and differs between tools. This is the order of the papers: for each threshold, compute
    precision and recall of every picture, their means over the *dataset* and the F of the two means; then
    take the largest F. (Taking the best F of each picture first gives a higher figure.)

    A pixel is foreground at threshold t if its 8-bit value is at least t. If no pixel is foreground, the
    precision is 0; if no pixel of the truth is foreground, the recall is 0.

    Args:
        pairs: For each picture the saliency, (H, W) float32 in [0, 1], rounded here to 8 bits (half to even),
            and the true foreground, (H, W) bool. Sizes may differ between pictures. Iterated once, so the
            dataset does not have to fit into memory.
        beta_squared: Weight of recall against precision.

    Returns:
        A figure in [0, 1]; 1 is perfect.

    Raises:
        ValueError: There are no pictures, or the shapes of a pair differ.
    """
    return max_f_of_means([precision_and_recall(*pair) for pair in pairs], beta_squared=beta_squared)


def max_f_of_means(curves: Sequence[Curves], *, beta_squared: float = BETA_SQUARED) -> float:
    """Return the largest F-measure of a dataset from the curves of its pictures.

    Args:
        curves: The result of ``precision_and_recall`` for each picture.
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
    _check_shapes(saliency, truth)
    levels = np.clip(np.rint(saliency * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    hits = np.bincount(levels[truth], minlength=LEVELS)
    marked = np.bincount(levels.ravel(), minlength=LEVELS)
    # The number of pixels that reach a level: the sum over this level and all above.
    hits_from, marked_from = (np.cumsum(counts[::-1])[::-1].astype(np.float64) for counts in (hits, marked))
    return _ratio(hits_from, marked_from), _ratio(
        hits_from, np.full(LEVELS, np.count_nonzero(truth), np.float64)
    )


def relaxed_boundary_f(
    saliency: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    slack_px: int = SLACK_PX,
    beta_squared: float = BETA_SQUARED,
) -> float:
    """Return the F-measure of one picture's boundary, counting near misses as hits.

    The map is thresholded at 0.5. The boundary of a mask consists of the pixels that an erosion by a 3 × 3
    square removes; the border of the picture is not a boundary. Precision is the share of the map's boundary
    that is near the true one, recall the share of the true boundary that is near the map's. The figure of a
    dataset is the mean over its pictures. If either mask has no boundary, the figure is 0.

    Args:
        saliency: (H, W) float32 in [0, 1].
        truth: (H, W) bool, the foreground.
        slack_px: The largest distance that counts as near, in pixels, in each direction (a square window).
        beta_squared: Weight of recall against precision.

    Returns:
        A figure in [0, 1]; 1 is perfect.

    Raises:
        ValueError: The shapes differ.
    """
    _check_shapes(saliency, truth)
    predicted, expected = _boundary(saliency >= 0.5), _boundary(truth)
    hits = np.array(
        [np.sum(predicted & _dilated(expected, slack_px)), np.sum(expected & _dilated(predicted, slack_px))]
    )
    precision, recall = _ratio(
        hits.astype(np.float64), np.array([predicted.sum(), expected.sum()], np.float64)
    )
    if precision + recall == 0:
        return 0.0
    return float((1 + beta_squared) * precision * recall / (beta_squared * precision + recall))


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that a 3 × 3 erosion removes; pixels outside the picture count as foreground."""
    eroded = np.pad(mask, 1, constant_values=True)
    for axis in (0, 1):
        eroded = np.asarray(sliding_window_view(eroded, 3, axis).all(axis=-1))
    return mask & ~eroded


def _dilated(mask: NDArray[np.bool_], by_px: int) -> NDArray[np.bool_]:
    """Dilate by a square of ``2 · by_px + 1`` pixels."""
    dilated = np.pad(mask, by_px)
    for axis in (0, 1):
        dilated = np.asarray(sliding_window_view(dilated, 2 * by_px + 1, axis).any(axis=-1))
    return dilated


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _check_shapes(saliency: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
    if saliency.shape != truth.shape:
        raise ValueError(f"The saliency is {saliency.shape}, the truth {truth.shape}.")

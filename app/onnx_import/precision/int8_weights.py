"""Int8 weights: the kernels and biases of convolutions as integers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WEIGHT_LIMIT = 127  # int8 without -128, so that it is symmetric
BIAS_LIMIT = 2**30  # of int32, with room for the sum of products
SHRINKAGE = np.linspace(1.0, 0.8, 9)
"""Candidates for a channel's largest weight, as shares of the real one; the least squared error decides."""


def quantise_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a kernel, one scale a channel.

    Args:
        weight: (out, in, height, width) float32.

    Returns:
        (out, in, height, width) int8 in [-127, 127], and (out,) float32 scales. A channel's largest weights
        are clipped if that makes the squared error of the channel less.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = 1.0
    best = np.full(len(rows), np.inf)
    scales = np.empty(len(rows), np.float32)
    for share in SHRINKAGE:
        candidate = (share * largest / WEIGHT_LIMIT).astype(np.float32)
        error = ((_rounded(rows, candidate) * candidate[:, None] - rows) ** 2).sum(axis=1)
        better = error < best
        best[better], scales[better] = error[better], candidate[better]
    return _rounded(rows, scales).astype(np.int8).reshape(weight.shape), scales


def mean_loss(
    kernel: NDArray[np.float32],
    quantised: tuple[NDArray[np.int8], NDArray[np.float32]],
    means: Sequence[float],
) -> NDArray[np.float64]:
    """Return what a layer's outputs lose in the mean because its weights are rounded, (out,).

    Args:
        kernel: (out, in, height, width) float32; of a layer with groups, ``in`` is that of one group.
        quantised: Its integers and their scales, from ``quantise_weight``.
        means: The mean of each channel that the layer reads, of all groups.
    """
    integers, scales = quantised
    rounded = integers * scales[:, None, None, None].astype(np.float64)
    lost = (kernel - rounded).sum(axis=(2, 3))
    of_group = np.asarray(means, np.float64).reshape(-1, lost.shape[1])
    if len(of_group) == 1:
        loss: NDArray[np.float64] = lost @ of_group[0]
        return loss
    return np.asarray((lost * np.repeat(of_group, len(lost) // len(of_group), axis=0)).sum(axis=1))


def _rounded(rows: NDArray[np.float64], scales: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(np.rint(rows / scales[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)

"""Matting metrics: computes the figures of the matting papers from an alpha matte and the true matte.

Each figure is computed over a *region* of the picture and must be reported with its name: the unknown band of
a trimap, as on alphamatting.com, or the whole picture. Mattes are 8-bit, as served and as true mattes are
published; they are compared as fractions of 255, without stretching.

References:
    Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Region = NDArray[np.bool_]
_Float = NDArray[np.float64]

GRADIENT_SIGMA_PX = 1.4
GRADIENT_CUTOFF = 1e-2  # the kernel ends where the Gaussian falls below this
CONNECTIVITY_STEPS = 10  # thresholds 0.1, 0.2 … 1
MIN_DISCONNECTED = 0.15  # θ: smaller differences do not count as disconnected
PER_THOUSAND = 1000  # sums are reported in thousands


def absolute_error(alpha: Grey, truth: Grey, region: Region) -> float:
    """Return SAD, the sum of |α - α*| over the region, in thousands."""
    return float(np.abs(_difference(alpha, truth, region))[region].sum()) / PER_THOUSAND


def squared_error(alpha: Grey, truth: Grey, region: Region) -> float:
    """Return MSE, the mean of (α - α*)² over the region."""
    return float(np.square(_difference(alpha, truth, region))[region].mean())


def gradient_error(alpha: Grey, truth: Grey, region: Region) -> float:
    """Return Grad: the summed squared difference of the gradients' lengths over the region, in thousands.

    Gradients are convolutions with first derivatives of a Gaussian of σ = 1.4, each normalised to length 1;
    the borders of the picture are replicated.
    """
    _difference(alpha, truth, region)
    difference = _gradient_length(alpha) - _gradient_length(truth)
    return float(np.square(difference)[region].sum()) / PER_THOUSAND


def connectivity_error(alpha: Grey, truth: Grey, region: Region) -> float:
    """Return Conn: the difference in connectivity of the two mattes, summed over the region, in thousands.

    The source is the largest 4-connected region where both mattes reach a threshold. A pixel is connected
    up to the highest threshold at which it belongs to the source; the part of its alpha above that counts as
    disconnected if it is 0.15 or more.
    """
    _difference(alpha, truth, region)
    connected = _connected_up_to(alpha, truth)
    degrees = [_degree(matte / 255 - connected) for matte in (alpha, truth)]
    return float(np.abs(degrees[0] - degrees[1])[region].sum()) / PER_THOUSAND


def _difference(alpha: Grey, truth: Grey, region: Region) -> _Float:
    """Return α - α* in [-1, 1].

    Raises:
        ValueError: The shapes differ, or the region is empty.
    """
    if not alpha.shape == truth.shape == region.shape:
        raise ValueError(f"The matte is {alpha.shape}, the truth {truth.shape}, the region {region.shape}.")
    if not region.any():
        raise ValueError("The region has no pixels.")
    return (alpha.astype(np.float64) - truth) / 255


def _gradient_length(matte: Grey) -> _Float:
    """Return the length of the gradient at each pixel."""
    cutoff = np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * GRADIENT_SIGMA_PX * GRADIENT_CUTOFF))
    half_px = int(np.ceil(GRADIENT_SIGMA_PX * cutoff))
    x = np.arange(-half_px, half_px + 1, dtype=np.float64)
    bell = np.exp(-np.square(x / GRADIENT_SIGMA_PX) / 2)
    bell, derivative = bell / np.linalg.norm(bell), x * bell / np.linalg.norm(x * bell)
    scaled = matte / np.float64(255)
    right, down = (
        cv2.sepFilter2D(scaled, cv2.CV_64F, across, along, borderType=cv2.BORDER_REPLICATE)
        for across, along in ((derivative, bell), (bell, derivative))
    )
    return np.hypot(right, down).astype(np.float64, copy=False)


def _connected_up_to(alpha: Grey, truth: Grey) -> _Float:
    """Return for each pixel the highest threshold at which it still belongs to the source, 0 to 1."""
    connected = np.ones(alpha.shape)
    is_undecided = np.ones(alpha.shape, dtype=np.bool_)
    for level in range(1, CONNECTIVITY_STEPS + 1):
        is_source = _largest_region(np.minimum(alpha, truth) / 255 >= level / CONNECTIVITY_STEPS)
        connected[is_undecided & ~is_source] = (level - 1) / CONNECTIVITY_STEPS
        is_undecided &= is_source
    return connected


def _largest_region(mask: Region) -> Region:
    """Return the largest 4-connected region; an empty mask for an empty mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if not len(sizes):
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + np.argmax(sizes))


def _degree(above: _Float) -> _Float:
    """Return φ, the degree of connectedness, from the part of a matte above its connected threshold."""
    return 1 - above * (above >= MIN_DISCONNECTED)

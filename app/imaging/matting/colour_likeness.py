"""Colour likeness: measures how well each pixel fits the colours of the strokes, and those of their opposite.

Strategy: a stroke is small and even, so its colours are described by their mean and spread; the opposite is
large and varied, so it is a histogram, blurred so that similar colours count too.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Mask

_BINS = 20  # of the histogram, along each axis of Lab
_BLUR_BINS = 5  # of the binomial kernel
_SPREAD_FLOOR = 3.0  # in Lab: noise, and colours that the eye hardly tells apart
_LOWEST, _WIDTH = (
    np.array((0, -62.5, -62.5), np.float32),
    np.array((100, 125, 125), np.float32),
)  # nearly all photographs

_Float = NDArray[np.float32]


def colour_frequency(lab: _Float, weight: _Float) -> _Float:
    """Return how frequent each pixel's colour is among the weighted pixels.

    Args:
        lab: (h, w, 3), CIE L*a*b*.
        weight: (h, w), at least 0.

    Returns:
        (h, w) float32 in [0, 1], the share of the weight in a bin of similar colours.
    """
    cells = np.clip((lab - _LOWEST) / _WIDTH * _BINS, 0, _BINS - 1).astype(np.int32)
    index = (cells[:, :, 0] * _BINS + cells[:, :, 1]) * _BINS + cells[:, :, 2]
    counts = np.bincount(index.ravel(), weights=weight.ravel(), minlength=_BINS**3).astype(np.float32)
    cube = counts.reshape(_BINS, _BINS, _BINS)
    kernel = np.asarray(cv2.getGaussianKernel(_BLUR_BINS, 1.0), np.float32)
    for _ in range(3):  # blurs the first axis, and moves it to the end
        blurred = cv2.sepFilter2D(cube.reshape(_BINS, -1), -1, np.ones(1, np.float32), kernel)
        cube = np.moveaxis(np.asarray(blurred, np.float32).reshape(_BINS, _BINS, _BINS), 0, 2)
    total = float(cube.sum())
    return np.asarray(cube.ravel()[index] / total if total > 0 else np.zeros_like(weight), np.float32)


def colour_distance(lab: _Float, seeds: Mask, nearest: NDArray[np.int32]) -> _Float:
    """Return how far each pixel's colour is from those of its nearest stroke, in their standard deviations.

    Args:
        lab: (h, w, 3), CIE L*a*b*.
        seeds: (h, w), the pixels of the strokes.
        nearest: (h, w), the number of the nearest stroke; at its own pixels, its own number.

    Returns:
        (h, w) float32, at least 0.
    """
    numbers = nearest[seeds]
    count = np.maximum(np.bincount(numbers, minlength=int(nearest.max()) + 1), 1)
    squared = np.zeros(seeds.shape, np.float32)
    for axis in range(3):
        values = lab[:, :, axis]
        mean = np.bincount(numbers, weights=values[seeds], minlength=len(count)) / count
        square = np.bincount(
            numbers, weights=np.square(values[seeds], dtype=np.float64), minlength=len(count)
        )
        spread = np.sqrt(np.maximum(square / count - mean**2, 0)) + _SPREAD_FLOOR
        squared += np.square((values - mean[nearest]) / spread[nearest]).astype(np.float32)
    return np.sqrt(squared)

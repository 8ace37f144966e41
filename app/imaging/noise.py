"""Noise: how much of a picture is its sensor's.

Strategy: a mask that neither a slope nor a straight edge answers to is laid over small blocks all over the
picture. What a block answers is its noise and its detail; noise is everywhere and detail is not, so a block
among the calmest tells the noise.

References:
    Immerkær, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 1996.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Rgb

_BLOCK_PX = 16
_BLOCKS = 16  # each way
_CALMEST = 0.1  # share of the blocks
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_GAIN = 6.0  # standard deviation of what the mask makes of white noise of 1
_DARKEST, _LIGHTEST = 8, 247  # mean levels beyond which noise is cut off


def estimate_noise(rgb: Rgb) -> float:
    """Return the standard deviation of a picture's noise in its green, in levels of 255.

    0 for a picture that is smaller than a block, or so dark or light everywhere that noise cannot show.
    """
    found = [_response(block) for block in _blocks(rgb[:, :, 1]) if _DARKEST <= block.mean() <= _LIGHTEST]
    return float(np.quantile(found, _CALMEST)) if found else 0.0


def _blocks(grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Cut out blocks that are spread evenly."""
    if min(grey.shape) < _BLOCK_PX:
        return []
    tops, lefts = (np.unique(np.linspace(0, s - _BLOCK_PX, _BLOCKS).astype(int)) for s in grey.shape)
    return [grey[top : top + _BLOCK_PX, left : left + _BLOCK_PX] for top in tops for left in lefts]


def _response(block: NDArray[np.uint8]) -> float:
    filtered = cv2.filter2D(block, cv2.CV_32F, _MASK)[1:-1, 1:-1]
    return float(np.sqrt(np.square(filtered).mean())) / _GAIN

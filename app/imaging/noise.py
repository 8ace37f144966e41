"""Noise: estimates the sensor noise of a picture.

Strategy: small blocks all over the picture are filtered with a mask whose response to a slope or a straight
edge is zero. The response of a block is its noise plus its detail; noise is everywhere and detail is not, so
the blocks with the lowest responses measure the noise.

References:
    Immerkær, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 1996.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Rgb

_BLOCK_PX = 16
_BLOCKS = 16  # per axis
_QUIET_QUANTILE = 0.1  # of the blocks, by response
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_GAIN = 6.0  # standard deviation of the mask's response to white noise of standard deviation 1
_DARKEST, _LIGHTEST = 8, 247  # mean levels beyond which noise is clipped


def estimate_noise(rgb: Rgb) -> float:
    """Return the standard deviation of the noise in a picture's green channel, in levels of 255.

    0 if the picture is smaller than a block, or so dark or light everywhere that noise is clipped.
    """
    blocks = (block for block in _blocks(rgb[:, :, 1]) if _DARKEST <= block.mean() <= _LIGHTEST)
    responses = [_response(block) for block in blocks]
    return float(np.quantile(responses, _QUIET_QUANTILE)) if responses else 0.0


def _blocks(grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return evenly spaced blocks of a channel."""
    if min(grey.shape) < _BLOCK_PX:
        return []
    tops, lefts = (np.unique(np.linspace(0, s - _BLOCK_PX, _BLOCKS).astype(int)) for s in grey.shape)
    return [grey[top : top + _BLOCK_PX, left : left + _BLOCK_PX] for top in tops for left in lefts]


def _response(block: NDArray[np.uint8]) -> float:
    filtered = cv2.filter2D(block, cv2.CV_32F, _MASK)[1:-1, 1:-1]
    return float(np.sqrt(np.square(filtered).mean())) / _GAIN

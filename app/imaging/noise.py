"""Noise: estimates the sensor noise of a picture.

Strategy: small blocks all over the picture are filtered with a mask whose response to a slope or a straight
edge is zero. The response of a block is its noise plus its detail; noise is everywhere and detail is not, so
the blocks with the lowest responses measure the noise.

References:
    Immerkær, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 1996.
"""

import numpy as np
from numpy.typing import NDArray

from app.arrays import Rgb

_BLOCK_PX = 16
_BLOCKS = 16  # per axis
_QUIET_QUANTILE = 0.1  # of the blocks, by response
_GAIN = 6.0  # standard deviation of the mask's response to white noise of standard deviation 1
_DARKEST, _LIGHTEST = 8, 247  # mean levels beyond which noise is clipped


def estimate_noise(rgb: Rgb) -> float:
    """Return the standard deviation of the noise in a picture's green channel, in levels of 255.

    0 if the picture is smaller than a block, or so dark or light everywhere that noise is clipped.
    """
    if min(rgb.shape[:2]) < _BLOCK_PX:
        return 0.0
    blocks = _blocks(rgb)
    means = blocks.mean(axis=(1, 2))
    blocks = blocks[(means >= _DARKEST) & (means <= _LIGHTEST)]
    if not len(blocks):
        return 0.0
    filtered = _second_differences(_second_differences(blocks, axis=1), axis=2)
    responses = np.sqrt(np.square(filtered).mean(axis=(1, 2))) / _GAIN
    return float(np.quantile(responses, _QUIET_QUANTILE))


def _blocks(rgb: Rgb) -> NDArray[np.int32]:
    """Return evenly spaced blocks of the green channel, (N, side, side)."""
    rows, columns = (
        (
            np.unique(np.linspace(0, side - _BLOCK_PX, _BLOCKS).astype(int))[:, None] + np.arange(_BLOCK_PX)
        ).ravel()
        for side in rgb.shape[:2]
    )
    read = rgb[rows[:, None], columns, 1].astype(np.int32)
    grid = read.reshape(-1, _BLOCK_PX, len(columns) // _BLOCK_PX, _BLOCK_PX)
    return np.asarray(grid.swapaxes(1, 2).reshape(-1, _BLOCK_PX, _BLOCK_PX), np.int32)


def _second_differences(values: NDArray[np.int32], *, axis: int) -> NDArray[np.int32]:
    """Filter with (1, -2, 1), without the two values at the ends; along both axes it is the paper's mask."""
    return np.asarray(np.diff(values, n=2, axis=axis), np.int32)

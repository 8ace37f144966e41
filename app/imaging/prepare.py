"""Prepare: upright pixels become the network's input.

The authors resample with plain bilinear interpolation, without antialiasing, and their weights expect it: it
reproduces their published maps ten times closer than bicubic, area or antialiased bilinear does. It reads
four pixels for each one it writes, so a very large picture would alias. Averaging it all the way down is no
cure, since the network's map of a smoothed picture differs (by 0.034 of full scale on a detailed one of
6 megapixels). A side of ten network sides or more is therefore area-averaged by a whole factor, but only to
between five and ten: published maps are reproduced to 0.0006 of full scale, and a picture that was enlarged
to 12 megapixels by any method keeps its mask within 0.01.

Noise aliases too, and the weights were not trained on it: a picture with more than a trace of it is averaged
to between one and two network sides.

Of an averaged picture of five to ten network sides, bilinear interpolation reads 4 to 16 %, so only the
blocks that it reads are averaged.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import NetworkInput, Rgb
from app.imaging.noise import estimate_noise
from app.imaging.resample import centres
from app.imaging.tiles import shrink

_AVERAGED_TO = 5  # minimum, in network sides; 4 is too smooth for the published maps, 6 lets 12 MP alias
_NOISY_AVERAGED_TO = 1
_HALVED_FROM = 4  # the factor; the maps differ by 0.0006, a seventh of what the noise changes
_ONE = 1 << 11  # of the fixed-point arithmetic in ``cv2.resize``
_NOISY = 0.8  # levels of 255: a camera's 4 or 5 after JPEG at quality 90; clean photos have up to 0.5


def prepare(rgb: Rgb, input_size_px: int) -> NetworkInput:
    """Resample a picture to the network's square, without keeping its aspect ratio, as in training.

    Args:
        rgb: Upright picture of any size.
        input_size_px: Side of the network's input, S.

    Returns:
        (S, S, 3) uint8, contiguous.
    """
    height, width = rgb.shape[:2]
    is_noisy = max(height, width) >= 2 * input_size_px and estimate_noise(rgb) > _NOISY
    min_px = input_size_px * (_NOISY_AVERAGED_TO if is_noisy else _AVERAGED_TO)
    down, right = (_factor(side, min_px) for side in (height, width))
    averaged = rgb
    if (down, right) != (1, 1):
        is_whole = height % down == width % right == 0
        if is_whole and not is_noisy and min(height // down, width // right) > input_size_px:
            return _sampled(rgb, down, right, input_size_px)
        # Whole blocks of 2 × 2 are averaged seven times as fast as blocks with shares of pixels.
        halved = shrink(rgb, 2) if is_noisy and min(down, right) >= _HALVED_FROM else rgb
        averaged = _resize(halved, round(height / down), round(width / right), cv2.INTER_AREA)
    return _resize(averaged, input_size_px, input_size_px, cv2.INTER_LINEAR)


def _factor(side_px: int, min_px: int) -> int:
    """Return the largest whole factor that leaves ``min_px`` or more of a side after averaging."""
    return max(1, side_px // min_px)


def _resize(rgb: Rgb, height: int, width: int, interpolation: int) -> Rgb:
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=interpolation), dtype=np.uint8)


def _sampled(rgb: Rgb, down: int, right: int, size_px: int) -> NetworkInput:
    """Average by blocks and interpolate bilinearly, without the blocks that are not read.

    Returns:
        (S, S, 3), to the bit what ``cv2.resize`` makes of it in two steps.
    """
    height, width = rgb.shape[0] // down, rgb.shape[1] // right
    rows, row_shares = _positions(height, size_px)
    columns, column_shares = _positions(width, size_px)
    lines = (rows[:, None] * down + np.arange(down)).ravel()
    blocks = np.ascontiguousarray(rgb).reshape(-1).view(f"V{3 * right}")  # the pixels of a line in a block
    read = blocks.take(lines[:, None] * width + columns)
    pixels = read.view(np.uint8).reshape(len(lines), -1, 3)
    means = _resize(pixels, 2 * size_px, 2 * size_px, cv2.INTER_AREA).reshape(2 * size_px, 2, -1)
    across = means[:, 0] * column_shares[0].repeat(3)
    across += means[:, 1] * column_shares[1].repeat(3)
    across >>= 4
    upper = (across[:size_px] * row_shares[0][:, None]) >> 16
    upper += (across[size_px:] * row_shares[1][:, None]) >> 16
    upper += 2
    return np.asarray(upper >> 2, np.uint8).reshape(size_px, size_px, 3)


def _positions(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return the two values that each output reads, and their fixed-point shares, (2 · new) and (2, new).

    The first values of all outputs come before the second ones.
    """
    positions = centres(slice(0, new), old_rows=old, new_rows=new)
    first = positions.astype(np.intp)
    shares = np.stack([1 - (positions - first), positions - first])
    return np.concatenate([first, first + 1]), np.rint(shares * _ONE).astype(np.int32)

"""Prepare: upright pixels become what the network looks at.

The authors' resampling is plain bilinear without antialiasing, and their weights expect it: it reproduces
their published maps ten times closer than bicubic, area or antialiased bilinear does. It reads four
pixels for each one it writes, so a very large picture would alias; averaging it down all the way is no
cure, since the network answers a smoothed picture differently (by 0.034 of full scale on a detailed one
of 6 megapixels). A side of ten network sides or more is therefore area-averaged by a whole factor, but
only to between five and ten: published maps are reproduced to 0.0006 of full scale, and a picture that
was enlarged to 12 megapixels by any method keeps its mask within 0.01.
"""

import cv2
import numpy as np

from app.arrays import NetworkInput, Rgb

_AVERAGED_TO = 5  # network sides at least; 4 is too smooth for the published maps, 6 lets 12 MP alias


def prepare(rgb: Rgb, input_size_px: int) -> NetworkInput:
    """Resample a picture to the network's square; its aspect is not kept, as in training.

    Args:
        rgb: Upright, of any size.
        input_size_px: The network's side, S.

    Returns:
        (S, S, 3) uint8, contiguous.
    """
    height, width = rgb.shape[:2]
    averaged_height = _averaged_side_px(height, input_size_px)
    averaged_width = _averaged_side_px(width, input_size_px)
    averaged = rgb
    if (averaged_height, averaged_width) != (height, width):
        averaged = _resize(rgb, averaged_height, averaged_width, cv2.INTER_AREA)
    return _resize(averaged, input_size_px, input_size_px, cv2.INTER_LINEAR)


def _averaged_side_px(side_px: int, input_size_px: int) -> int:
    factor = side_px // (_AVERAGED_TO * input_size_px)
    return side_px if factor < 2 else round(side_px / factor)


def _resize(rgb: Rgb, height: int, width: int, interpolation: int) -> Rgb:
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=interpolation), dtype=np.uint8)

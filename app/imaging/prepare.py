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
"""

import cv2
import numpy as np

from app.arrays import NetworkInput, Rgb
from app.imaging.noise import estimate_noise

_AVERAGED_TO = 5  # minimum, in network sides; 4 is too smooth for the published maps, 6 lets 12 MP alias
_NOISY_AVERAGED_TO = 1
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
    averaged_height, averaged_width = _averaged_side_px(height, min_px), _averaged_side_px(width, min_px)
    averaged = rgb
    if (averaged_height, averaged_width) != (height, width):
        averaged = _resize(rgb, averaged_height, averaged_width, cv2.INTER_AREA)
    return _resize(averaged, input_size_px, input_size_px, cv2.INTER_LINEAR)


def _averaged_side_px(side_px: int, min_px: int) -> int:
    """Return the side after averaging by the largest whole factor that keeps ``min_px`` or more."""
    factor = side_px // min_px
    return side_px if factor < 2 else round(side_px / factor)


def _resize(rgb: Rgb, height: int, width: int, interpolation: int) -> Rgb:
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=interpolation), dtype=np.uint8)

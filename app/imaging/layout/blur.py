"""Blur: a Gaussian blur of any radius in the time of a small one.

Strategy: a blurred picture has no detail finer than the blur, so it is averaged by blocks until the Gaussian
is a few pixels wide, blurred at that size, and enlarged linearly. Averaging and enlarging blur a little
themselves, by variances of 1/12 and 1/6 of a squared block, which are subtracted from the Gaussian's. Beyond
its borders the picture is mirrored about its outermost pixels before it is averaged; otherwise an edge near
the border would be blurred with a mirror image that is off by blocks. The result of a photograph is within
3 of 255 of the Gaussian at full size; a small picture of many hard edges may be off by 6 in a few pixels.
"""

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from app.imaging.progress import Check, no_check

_COARSE_SIGMA = (
    4  # minimum, in blocks; the error of linear enlarging falls with its square: half a level here
)
_REACH = 3  # of the Gaussian, in standard deviations
_OWN_VARIANCE = 1 / 4  # of averaging plus enlarging, in squared blocks

_Pixels = NDArray[np.uint8]


def blur(pixels: _Pixels, sigma: float, *, check: Check = no_check) -> _Pixels:
    """Blur by a Gaussian; the picture is mirrored about its outermost pixels.

    Args:
        pixels: (H, W) or (H, W, 3).
        sigma: Standard deviation, in pixels.
        check: Called between the steps.
    """
    block_px = int(sigma / _COARSE_SIGMA)
    if block_px < 2:
        check()
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
    coarse_sigma = ((sigma / block_px) ** 2 - _OWN_VARIANCE) ** 0.5
    margin = int(_REACH * sigma / block_px) + 1
    coarse: MatLike = pixels
    longest_first = (0, 1) if pixels.shape[0] >= pixels.shape[1] else (1, 0)
    for axis in longest_first:  # in the other order, a narrow picture's margins would dwarf it
        check()
        coarse = _averaged(coarse, block_px, margin, axis)
    check()
    side = 2 * margin - 1
    soft = np.rint(cv2.GaussianBlur(coarse, (side, side), coarse_sigma)).astype(np.uint8)
    inner = soft[margin : soft.shape[0] - margin, margin : soft.shape[1] - margin]
    size = (inner.shape[1] * block_px, inner.shape[0] * block_px)
    enlarged = np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    check()
    return np.ascontiguousarray(enlarged[: pixels.shape[0], : pixels.shape[1]])


def _averaged(pixels: MatLike, block_px: int, margin: int, axis: int) -> NDArray[np.float32]:
    """Average along an axis by blocks, with ``margin`` blocks of mirror image at both ends."""
    length = pixels.shape[axis]
    before, after = margin * block_px, margin * block_px + -length % block_px
    top, bottom, left, right = (before, after, 0, 0) if axis == 0 else (0, 0, before, after)
    mirrored = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    height, width = mirrored.shape[:2]
    size = (width, height // block_px) if axis == 0 else (width // block_px, height)
    return np.asarray(cv2.resize(mirrored, size, interpolation=cv2.INTER_AREA), np.float32)

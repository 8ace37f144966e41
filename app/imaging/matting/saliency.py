"""Saliency: the network's raw map becomes a map or mask for display."""

import cv2
import numpy as np

from app.arrays import AlphaMatte, Grey, SaliencyMap
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of

# Of 500 pictures with a subject (ECSSD, DUTS) none had a raw maximum below 0.9; of their crops without it,
# which show other things, half stay below this, as do three in four of flat colours, gradients and blobs
# (docs/verdict.md).
EMPTY_BELOW = 0.5
VISIBLE_OPACITY = 0.1  # a picture whose opacity is below this everywhere shows nothing


def is_empty(raw: SaliencyMap, visible: Grey | None = None) -> bool:
    """Return whether the network found no subject, by the raw map's maximum.

    Call it before ``stretch``, after which any map seems to contain a subject.

    Args:
        raw: (h, w) in [0, 1].
        visible: The picture's own alpha at the map's size, by which the map is multiplied. The threshold
            is scaled by its maximum, for pictures that are see-through everywhere.
    """
    if visible is None:
        return float(raw.max()) < EMPTY_BELOW
    opacity = int(visible.max()) / 255
    return opacity < VISIBLE_OPACITY or float(weigh(raw, visible).max()) < EMPTY_BELOW * opacity


def shrink_alpha(own_alpha: Grey, height: int, width: int) -> Grey:
    """Resize a picture's own alpha to a map's size."""
    return np.asarray(_resize(own_alpha, height, width), np.uint8)


def weigh(saliency: SaliencyMap, own_alpha: Grey | None) -> SaliencyMap:
    """Multiply a map by the picture's own alpha, resized to the map; without one, return the map.

    Returns:
        float32 of the map's size, in [0, 1].
    """
    if own_alpha is None:
        return saliency
    visible = shrink_alpha(own_alpha, *saliency.shape)
    return np.asarray(cv2.multiply(saliency, visible, scale=1 / 255, dtype=cv2.CV_32F), np.float32)


def stretch(raw: SaliencyMap) -> SaliencyMap:
    """Stretch one raw map to the whole of [0, 1], as the authors publish it.

    A map without any contrast becomes zeros.
    """
    lowest, highest = float(raw.min()), float(raw.max())
    if highest <= lowest:
        return np.zeros_like(raw, dtype=np.float32)
    stretched = (raw - np.float32(lowest)) / np.float32(highest - lowest)
    return np.ascontiguousarray(stretched, dtype=np.float32)


def publish(saliency: SaliencyMap, height: int, width: int) -> Grey:
    """Convert a stretched map to 8 bits as the authors do for their published maps.

    The map is truncated to 8 bits at the network's size and then enlarged bilinearly, and so agrees with
    their published maps to 0.0006 of full scale; rounding would be 0.0013 off.

    Returns:
        (height, width) uint8.
    """
    floored = np.empty(saliency.shape, dtype=np.uint8)
    for strip in strips_of(saliency.shape[0], saliency.shape[1]):
        floored[strip] = saliency[strip] * np.float32(255)
    return np.asarray(_resize(floored, height, width), dtype=np.uint8)


def resize_saliency(saliency: SaliencyMap, height: int, width: int) -> SaliencyMap:
    """Resize a map by bilinear interpolation; a side that shrinks is area-averaged."""
    return np.asarray(_resize(saliency, height, width), dtype=np.float32)


def to_grey(saliency: SaliencyMap | AlphaMatte, *, check: Check = no_check) -> Grey:
    """Convert values in [0, 1] to 8 bits: times 255, round half to even, then clip."""
    grey = np.empty(saliency.shape, dtype=np.uint8)
    for strip in strips_of(saliency.shape[0], saliency.shape[1]):
        check()
        not_negative = np.maximum(saliency[strip], np.float32(0))
        cv2.convertScaleAbs(not_negative, grey[strip], alpha=255)
    return grey


def enlarge_to_grey(saliency: SaliencyMap, height: int, width: int, *, check: Check = no_check) -> Grey:
    """Resize a map and convert it to 8 bits, strip by strip, without a float array of the picture's size.

    Returns:
        (height, width) uint8, within 1 of ``to_grey(resize_saliency(saliency, height, width))``: the sums
        of floats are rounded in another order.
    """
    rows = min(saliency.shape[0], height)
    wide = resize_saliency(saliency, rows, width)
    grey = np.empty((height, width), dtype=np.uint8)
    centres = (np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(rows / height)
    positions = np.clip(centres - np.float32(0.5), 0, rows - 1)
    above = positions.astype(np.intp)
    below, share = np.minimum(above + 1, rows - 1), (positions - above)[:, None]
    for strip in strips_of(height, width):
        check()
        upper, lower = wide[above[strip]], wide[below[strip]]
        grey[strip] = to_grey(upper + share[strip] * (lower - upper))
    return grey


def _resize(grid: SaliencyMap | Grey, height: int, width: int) -> cv2.typing.MatLike:
    shrunk_height, shrunk_width = min(grid.shape[0], height), min(grid.shape[1], width)
    shrunk: cv2.typing.MatLike = grid
    if (shrunk_height, shrunk_width) != grid.shape:
        shrunk = cv2.resize(grid, (shrunk_width, shrunk_height), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)

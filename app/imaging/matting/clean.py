"""Clean: specks vanish from a saliency map, and holes in it are filled, by their area.

Strategy: an area opening. What is brighter than a level falls into connected components; one that is smaller
than the area is lowered to the highest level at which it is part of a larger one. A speck on nothing so
vanishes with its soft skirt, and one on a faint haze sinks into the haze. Holes are the same seen from the
other side. Levels end where yes and no part: what is sure stays as it is, however finely it is patterned.

A map of more than ``MAX_PX``, which only a caller's own mask has, is averaged by blocks until it has no
more, and cleaned as such; what was lowered or raised there bounds the pixels of its block, and those of faint
blocks beside it, which hold its rim. What is lost: parts that lie within a block of each other count as one,
and where a speck and what stays share a block, the speck's share of it stays.

References:
    Vincent, "Morphological Area Openings and Closings for Grey-scale Images", 1993.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Mask, SaliencyMap
from app.imaging.progress import Check, no_check
from app.imaging.tiles import shrink

MAX_PX = 1 << 21
"""Of a map that is cleaned pixel by pixel; networks give at most half of it."""
_LEVELS = 16  # up to the level where yes and no part; a speck sinks to the nearest below its surroundings
_SUBJECT_CONNECTIVITY, _HOLE_CONNECTIVITY = 8, 4  # so that a diagonal line parts what lies on its sides


def clean_map(
    saliency: SaliencyMap,
    *,
    area: float,
    level: float = 0.5,
    max_px: int = MAX_PX,
    check: Check = no_check,
) -> SaliencyMap:
    """Remove specks from a stretched map, then fill the holes in it.

    The largest part of the subject stays whatever its size, and so does that of the background.

    Args:
        saliency: (H, W) in [0, 1].
        area: In parts of the map; what is smaller goes.
        level: Where yes and no part, between 0 and 1.
        max_px: A larger map is cleaned by blocks.
        check: Called for each level.

    Returns:
        (H, W) float32, a new array; equal to ``saliency`` wherever nothing was too small.
    """
    block_px = 1
    while -(-saliency.shape[0] // block_px) * -(-saliency.shape[1] // block_px) > max_px:
        block_px += 1
    if block_px == 1:
        return _cleaned(saliency, area, level, check)
    coarse = shrink(saliency, block_px)
    cleaned = _cleaned(coarse, area, level, check)
    highest = _bound(coarse, cleaned, level)
    lowest = 1 - _bound(1 - coarse, 1 - cleaned, 1 - level)
    return _within(saliency, lowest, highest, block_px, check)


def _cleaned(saliency: SaliencyMap, area: float, level: float, check: Check) -> SaliencyMap:
    without_specks = _opened(saliency, area, level, _SUBJECT_CONNECTIVITY, check)
    inverted = (np.float32(1) - without_specks).astype(np.float32, copy=False)
    filled = _opened(inverted, area, 1 - level, _HOLE_CONNECTIVITY, check)
    is_filled = filled < inverted
    return np.where(is_filled, np.float32(1) - filled, without_specks).astype(np.float32, copy=False)


def _opened(values: SaliencyMap, area: float, level: float, connectivity: int, check: Check) -> SaliencyMap:
    """Lower each bright part smaller than ``area`` to the level at which it is part of a larger one."""
    levels = [np.float32(level * step / _LEVELS) for step in range(_LEVELS, 0, -1)]
    min_px, largest_px = area * values.size, 0
    opened = np.where(values < levels[-1], values, np.float32(0))  # fainter than all levels: nothing to see
    kept = values
    for threshold in levels:
        check()
        labels, sizes_px = _parts(values >= threshold, connectivity)
        largest_px = largest_px or max(sizes_px, default=0)  # at the highest level that is reached; it stays
        is_large = np.concatenate([[False], sizes_px >= min(min_px, largest_px)])
        np.maximum(opened, kept, out=opened, where=is_large[labels])
        kept = np.minimum(values, np.nextafter(threshold, np.float32(0)))
    return opened.astype(np.float32, copy=False)


def _parts(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the number of each pixel's part, 0 outside the mask, and how many pixels each part has."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return np.asarray(labels, dtype=np.int32), np.asarray(stats[1:, cv2.CC_STAT_AREA], dtype=np.int32)


def _bound(coarse: SaliencyMap, cleaned: SaliencyMap, level: float) -> SaliencyMap:
    """Return how bright the pixels of each block may be: 1 where it was not lowered and holds no rim."""
    is_lowered = cleaned < coarse
    nearby = np.asarray(cv2.dilate(np.where(is_lowered, cleaned, np.float32(-1)), np.ones((3, 3), np.uint8)))
    is_rim = ~is_lowered & (coarse < level / _LEVELS) & (nearby >= 0)
    return np.where(is_lowered, cleaned, np.where(is_rim, nearby, np.float32(1))).astype(np.float32)


def _within(
    saliency: SaliencyMap, lowest: SaliencyMap, highest: SaliencyMap, block_px: int, check: Check
) -> SaliencyMap:
    """Move each pixel between the bounds of its block."""
    bounded = saliency.copy()
    for row in np.flatnonzero(((lowest > 0) | (highest < 1)).any(axis=1)):
        check()
        strip = bounded[row * block_px : (row + 1) * block_px]
        low, high = (np.repeat(bound[row], block_px)[: strip.shape[1]] for bound in (lowest, highest))
        np.clip(strip, low, high, out=strip)
    return bounded

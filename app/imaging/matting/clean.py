"""Clean: removes small specks from a saliency map and fills small holes in it.

Strategy: an area opening. The pixels above a level form connected components; a component smaller than the
given area is lowered to the highest level at which it belongs to a larger one. A speck on an empty background
thus vanishes with its soft rim, and a speck on a faint haze sinks into the haze. Holes are specks of the
inverted map. The levels end at the one that divides subject from background: pixels on the sure side of it
keep their values, however finely they are patterned.

A map of more than ``MAX_PX`` pixels, which only a client's own mask has, is averaged by blocks until it has
at most that many, and the coarse map is cleaned; the value that a block was lowered or raised to bounds its
pixels, and those of neighbouring faint blocks, which hold its rim. The cost: components within a block of
each other count as one, and where a speck shares a block with a component that stays, the speck's pixels in
that block stay too.

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
"""Maximum size of a map that is cleaned pixel by pixel; networks' maps have at most half as many pixels."""
_LEVELS = 16  # up to the dividing level; a speck sinks to the nearest one below its surroundings
_SUBJECT_CONNECTIVITY, _HOLE_CONNECTIVITY = 8, 4  # so that a diagonal line separates its two sides


def clean_map(
    saliency: SaliencyMap,
    *,
    area: float,
    level: float = 0.5,
    max_px: int = MAX_PX,
    check: Check = no_check,
) -> SaliencyMap:
    """Remove specks from a stretched map, then fill the holes in it.

    The largest component of the subject stays whatever its size, and so does that of the background.

    Args:
        saliency: (H, W) in [0, 1].
        area: As a fraction of the map; smaller components are removed.
        level: Dividing level between background and subject, between 0 and 1.
        max_px: A larger map is cleaned by blocks.
        check: Called for each level.

    Returns:
        (H, W) float32, a new array; equal to ``saliency`` outside the removed specks and filled holes.
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
    """Lower each component smaller than ``area`` to the level at which it belongs to a larger one."""
    levels = [np.float32(level * step / _LEVELS) for step in range(_LEVELS, 0, -1)]
    min_px, largest_px = area * values.size, 0
    opened = np.where(values < levels[-1], values, np.float32(0))  # fainter than all levels: invisible
    clipped = values
    for threshold in levels:
        check()
        labels, sizes_px = _components(values >= threshold, connectivity)
        largest_px = largest_px or max(sizes_px, default=0)  # at the highest level reached; it stays
        is_large = np.concatenate([[False], sizes_px >= min(min_px, largest_px)])
        np.maximum(opened, clipped, out=opened, where=is_large[labels])
        clipped = np.minimum(values, np.nextafter(threshold, np.float32(0)))
    return opened.astype(np.float32, copy=False)


def _components(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each pixel's component number, 0 outside the mask, and the components' sizes in pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return np.asarray(labels, dtype=np.int32), np.asarray(stats[1:, cv2.CC_STAT_AREA], dtype=np.int32)


def _bound(coarse: SaliencyMap, cleaned: SaliencyMap, level: float) -> SaliencyMap:
    """Return the maximum value of each block's pixels: 1 for blocks that were not lowered and hold no rim."""
    is_lowered = cleaned < coarse
    nearby = np.asarray(cv2.dilate(np.where(is_lowered, cleaned, np.float32(-1)), np.ones((3, 3), np.uint8)))
    is_rim = ~is_lowered & (coarse < level / _LEVELS) & (nearby >= 0)
    return np.where(is_lowered, cleaned, np.where(is_rim, nearby, np.float32(1))).astype(np.float32)


def _within(
    saliency: SaliencyMap, lowest: SaliencyMap, highest: SaliencyMap, block_px: int, check: Check
) -> SaliencyMap:
    """Clip each pixel to the bounds of its block."""
    bounded = saliency.copy()
    for row in np.flatnonzero(((lowest > 0) | (highest < 1)).any(axis=1)):
        check()
        strip = bounded[row * block_px : (row + 1) * block_px]
        low, high = (np.repeat(bound[row], block_px)[: strip.shape[1]] for bound in (lowest, highest))
        np.clip(strip, low, high, out=strip)
    return bounded

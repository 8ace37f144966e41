"""Strokes: corrects an alpha matte where a person has painted what to keep and what to remove.

Strategy: a stroke in the middle of a wrong region stands for the whole region. The picture is shrunk; there,
each pixel whose alpha is on the wrong side for the strokes gets the odds that it belongs to their region
(``stroke_odds.py``). A division with a short border along the picture's edges turns the odds into regions,
and those that touch a stroke are changed. Their borders are moved onto the picture's edges at full
resolution.

Rule 1: painted pixels have exactly the painted value.
Rule 2: nothing changes farther from all strokes than ``REACH`` of the picture's shorter side.
Rule 3: a stroke over what is right already only confirms it, and does not spread.
Rule 4: a keep stroke never lowers alpha outside itself, and a remove stroke never raises it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Mask, Rgb, Trimap
from app.imaging.matting.matte import apply_edges, fit_edges
from app.imaging.matting.painting import KEPT, REMOVED
from app.imaging.matting.stroke_odds import prior_odds, stroke_odds
from app.imaging.matting.total_variation import divide
from app.imaging.progress import Check, no_check
from app.imaging.tiles import enlarge_tile, extent, shrink, tiles_of

REACH = 0.25
"""How far from a stroke alpha may change, as a fraction of the picture's shorter side."""
MAX_SIDE_PX = 224
"""Maximum side of the shrunk picture."""

_MARGIN_PX = 3  # of the shrunk picture: a stroke and a change may be at the far corners of their blocks
_BORDER_WEIGHT = 4.0  # of the border's length, against the odds of a pixel
_FLAT_BORDER = 0.02  # what a border costs at a strong edge, as a fraction of its cost in a flat region
_LAB_BLUR_PX = 0.7
_RIM_PX = 2  # of the shrunk picture, around a region: its alpha so far was that of an edge
_EDGE_RADIUS_PX, _EDGE_EPSILON = 2, 1e-4

_Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Corrected:
    """A matte, (H, W) in [0, 1], and whether the correction was finished within its time."""

    alpha: AlphaMatte
    is_complete: bool


@dataclass(frozen=True, slots=True)
class _Changes:
    """The corrected matte of the shrunk picture, and where to raise, and to lower, alpha: 0 or 1."""

    alpha: AlphaMatte
    raised: _Float
    lowered: _Float
    is_complete: bool


def correct_alpha(
    rgb: Rgb,
    alpha: AlphaMatte,
    painted: Trimap,
    *,
    is_time_left: Callable[[], bool],
    check: Check = no_check,
) -> Corrected:
    """Correct a matte by what is painted, and by what looks alike around it.

    Args:
        rgb: Upright picture, (H, W, 3).
        alpha: (H, W) in [0, 1], the matte so far.
        painted: (H, W), 255 where alpha must be 1, 0 where it must be 0, else 128.
        is_time_left: Called before each iteration; when it returns false, the correction so far is used.
        check: Called between the steps, and for each tile.

    Returns:
        A matte that equals ``alpha`` wherever nothing was corrected.
    """
    scale = max(1, -(-max(alpha.shape) // MAX_SIDE_PX))
    corrected = alpha.copy()
    check()
    coarse_rgb = shrink(rgb, scale)
    coarse = shrink(alpha, scale)
    kept, removed = (_coarse_mask(painted, value, scale) for value in (KEPT, REMOVED))
    changes = _changes(
        coarse_rgb, coarse, (kept, removed), reach_px=_reach_px(alpha.shape, scale), is_time_left=is_time_left
    )
    check()
    if changes.raised.any() or changes.lowered.any():
        _apply(corrected, rgb, coarse_rgb, changes, scale=scale, check=check)
    for value in (KEPT, REMOVED):
        check()
        corrected[painted == value] = value / 255
    return Corrected(corrected, changes.is_complete)


def keep_far(after: Rgb, before: Rgb, painted: Trimap, *, check: Check = no_check) -> Rgb:
    """Return the colours after a correction near the strokes, and those before it beyond ``REACH``.

    The colours of a pixel are estimated from its surroundings, so a correction would reach farther in them.

    Args:
        after: (H, W, 3).
        before: (H, W, 3).
        painted: (H, W), 128 where nothing is painted.
        check: Called for each tile.
    """
    scale = max(1, -(-max(painted.shape) // MAX_SIDE_PX))
    is_painted = _coarse_mask(painted, KEPT, scale) | _coarse_mask(painted, REMOVED, scale)
    is_far = (_distance_px(is_painted) > _reach_px(painted.shape, scale)).view(np.uint8)
    merged = after.copy()
    for rows, columns in tiles_of(*painted.shape, multiple_px=scale):
        check()
        blocks = is_far[
            rows.start // scale : -(-rows.stop // scale), columns.start // scale : -(-columns.stop // scale)
        ]
        if blocks.any():
            mask = np.repeat(np.repeat(blocks, scale, axis=0), scale, axis=1)
            height, width = rows.stop - rows.start, columns.stop - columns.start
            cv2.copyTo(
                before[rows, columns], np.ascontiguousarray(mask[:height, :width]), merged[rows, columns]
            )
    return merged


def _reach_px(shape: tuple[int, ...], scale: int) -> float:
    """Return the reach in pixels of the shrunk picture."""
    return REACH * min(shape) / scale - _MARGIN_PX


def _distance_px(mask: Mask) -> _Float:
    """Return the distance of each pixel from a mask."""
    distance = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def _coarse_mask(painted: Trimap, value: int, scale: int) -> Mask:
    """Return the blocks that hold a painted pixel."""
    is_painted = (painted == value).view(np.uint8)
    coarse = np.zeros([-(-side // scale) for side in painted.shape], bool)
    left, top, width, height = cv2.boundingRect(is_painted)
    first_row, first_column = top // scale, left // scale
    part = is_painted[first_row * scale : top + height, first_column * scale : left + width]
    if width:
        rows = np.maximum.reduceat(part, np.arange(0, part.shape[0], scale), axis=0)
        blocks = np.maximum.reduceat(rows, np.arange(0, part.shape[1], scale), axis=1) > 0
        coarse[first_row : first_row + blocks.shape[0], first_column : first_column + blocks.shape[1]] = (
            blocks
        )
    return coarse


def _changes(
    rgb: Rgb,
    alpha: AlphaMatte,
    masks: tuple[Mask, Mask],
    *,
    reach_px: float,
    is_time_left: Callable[[], bool],
) -> _Changes:
    """Find what follows the strokes, in the shrunk picture."""
    kept, removed = masks
    lab = _lab(rgb)
    odds = prior_odds(alpha)
    near = np.zeros(alpha.shape, bool)
    seeds = kept & (alpha < 0.5), removed & (alpha >= 0.5)
    for sign, seed, painted, opposite, wrong in (
        (1, seeds[0], kept, removed, alpha < 0.5),
        (-1, seeds[1], removed, kept, alpha >= 0.5),
    ):
        if seed.any():
            within = _distance_px(seed) <= reach_px
            evidence = stroke_odds(lab, seed, painted=painted, opposite=opposite, wrong=wrong)
            odds += np.where(within & wrong, np.float32(sign) * evidence, np.float32(0))
            near |= within
    values = np.where(kept, np.float32(1), np.where(removed, np.float32(0), alpha))
    if not near.any():
        return _Changes(values, np.zeros_like(alpha), np.zeros_like(alpha), is_complete=True)
    region, is_complete = divide(
        -odds, _border_costs(lab), fixed=~near | kept | removed, values=values, is_time_left=is_time_left
    )
    is_subject = alpha >= 0.5
    raised, gaps = _with_rim(_touching((region >= 0.5) & ~is_subject, seeds[0]), ~is_subject, near)
    lowered, slivers = _with_rim(_touching((region < 0.5) & is_subject, seeds[1]), is_subject, near)
    region = (region >= 0.5).astype(np.float32)
    region[gaps], region[slivers] = 1, 0
    result = np.where(raised, np.maximum(region, alpha), np.where(lowered, np.minimum(region, alpha), alpha))
    return _Changes(
        result.astype(np.float32), raised.astype(np.float32), lowered.astype(np.float32), is_complete
    )


def _lab(rgb: Rgb) -> _Float:
    lab = cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), _LAB_BLUR_PX), np.float32)


def _border_costs(lab: _Float) -> tuple[_Float, _Float]:
    """Return the cost of a border between rows and between columns; it is low at an edge."""
    down, right = (np.square(np.diff(lab, axis=axis)).sum(axis=2) for axis in (0, 1))
    typical = (down.sum() + right.sum()) / max(1, down.size + right.size) + 1e-3
    costs = (_BORDER_WEIGHT * (np.exp(-step / (2 * typical)) + _FLAT_BORDER) for step in (down, right))
    first, second = (np.asarray(cost, np.float32) for cost in costs)
    return first, second


def _touching(region: Mask, seed: Mask) -> Mask:
    """Return the components of a region that touch a seed."""
    _, labels = cv2.connectedComponents(region.view(np.uint8), connectivity=4)
    touched = np.zeros(int(labels.max()) + 1, bool)
    touched[labels[seed & region]] = True
    touched[0] = False
    return np.asarray(touched[labels], bool)


def _with_rim(region: Mask, side: Mask, near: Mask) -> tuple[Mask, Mask]:
    """Return a changed region with its rim, within the strokes' reach, and what is left of its side there.

    The colours of an edge are mixed, so a division leaves a thin line of the old side along it. What is too
    thin to be anything else changes too.

    Args:
        region: (h, w), the pixels that change from one side, subject or background, to the other.
        side: (h, w), the pixels that were on the side that the region leaves.
        near: (h, w), within reach.
    """
    window = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    rim = np.asarray(cv2.dilate(region.view(np.uint8), window), np.uint8).view(bool) & near
    left = side & ~region
    thick = np.asarray(cv2.morphologyEx(left.view(np.uint8), cv2.MORPH_OPEN, window), np.uint8).view(bool)
    return rim, rim & left & ~thick


def _apply(
    alpha: AlphaMatte, rgb: Rgb, coarse_rgb: Rgb, changes: _Changes, *, scale: int, check: Check
) -> None:
    """Raise and lower alpha in place, with borders along the picture's edges."""
    guide = coarse_rgb.astype(np.float32) / np.float32(255)
    edges = fit_edges(guide, changes.alpha, radius_px=_EDGE_RADIUS_PX, epsilon=_EDGE_EPSILON, check=check)
    for tile in tiles_of(*alpha.shape, multiple_px=scale):
        check()
        raised, lowered = (enlarge_tile(part, tile, scale) for part in (changes.raised, changes.lowered))
        if extent(raised)[1] == 0 and extent(lowered)[1] == 0:
            continue
        difference = apply_edges(rgb[tile], edges, tile=tile, scale=scale) - alpha[tile]
        change = raised * np.maximum(difference, 0) + lowered * np.minimum(difference, 0)
        alpha[tile] = np.clip(alpha[tile] + change, 0, 1)

"""Painting: keep and remove strokes, and pictures of them, become one map of what is painted.

The map is a trimap: 255 is to keep, 0 to remove, and 128 is not painted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Grey, Mask, Trimap
from app.imaging.matting.stroke_list import Stroke
from app.imaging.progress import Check, no_check

KEPT, NOT_PAINTED, REMOVED = 255, 128, 0
PAINTED_FROM = 128
"""Minimum brightness of a painted pixel in a picture of strokes."""
_FARTHEST_PX = 1e6  # a point is moved to at most this far from the corner, a thousand times a picture's side
_SHIFT = 4  # bits of sub-pixel position
_MAX_WIDTH_PX = 32_767  # of OpenCV's lines; twice the longest side of a picture
_MAX_COVERAGE = 64  # of the picture by all strokes together, since wide ones take long to draw


def paint(
    height: int,
    width: int,
    *,
    keep: Mask | None = None,
    remove: Mask | None = None,
    strokes: Sequence[Stroke] = (),
    scale: tuple[float, float] = (1.0, 1.0),
    check: Check = no_check,
) -> Trimap:
    """Paint pictures of strokes, then strokes, in their order; where they overlap, the later one counts.

    Args:
        height: Of the picture, in pixels.
        width: Likewise.
        keep: (height, width), what must be kept.
        remove: (height, width), what must be removed; it counts where both are painted.
        strokes: Painted over both. Parts outside the picture are clipped.
        scale: Pixels of the map per pixel of the strokes, down and right.
        check: Called for each stroke.

    Returns:
        (height, width), a new array.

    Raises:
        ValueError: The strokes would paint the picture dozens of times over.
    """
    lines = [_Line.of(stroke, (height, width), scale) for stroke in strokes]
    if sum(line.area_px for line in lines) > _MAX_COVERAGE * height * width:
        raise ValueError("the strokes cover the picture too often")
    painted = np.full((height, width), NOT_PAINTED, np.uint8)
    for mask, value in ((keep, KEPT), (remove, REMOVED)):
        if mask is not None:
            painted[mask] = value
    for line in lines:
        for start, end in line.segments:
            check()
            cv2.line(painted, start, end, line.value, line.width_px, cv2.LINE_8, _SHIFT)
    return painted


def painted_pixels(grey: Grey, height: int, width: int) -> Mask:
    """Stretch a picture of strokes over (height, width), and return where it is painted."""
    is_larger = grey.shape[0] * grey.shape[1] > height * width
    interpolation = cv2.INTER_AREA if is_larger else cv2.INTER_LINEAR
    stretched = grey
    if grey.shape != (height, width):
        stretched = np.asarray(cv2.resize(grey, (width, height), interpolation=interpolation), np.uint8)
    return stretched >= PAINTED_FROM


@dataclass(frozen=True, slots=True)
class _Line:
    """A stroke as OpenCV draws it, clipped: segments in 1/2^_SHIFT of a pixel."""

    value: int
    width_px: int
    segments: list[tuple[tuple[int, int], tuple[int, int]]]
    area_px: float

    @classmethod
    def of(cls, stroke: Stroke, shape: tuple[int, int], scale: tuple[float, float]) -> "_Line":
        factor = np.array(scale[::-1])
        points = np.clip(np.array(stroke.points, np.float64), -_FARTHEST_PX, _FARTHEST_PX) * factor
        points -= 0.5  # OpenCV's pixel centres are whole numbers
        width_px = min(max(1, round(stroke.width_px * float(factor.prod()) ** 0.5)), _MAX_WIDTH_PX)
        segments = np.stack([points[:-1], points[1:]], axis=1) if len(points) > 1 else points[None, [0, 0]]
        ends = _clipped(segments, shape, margin_px=width_px)
        lengths_px = np.abs(ends[:, 1] - ends[:, 0]).sum(axis=1) + width_px
        widest_px = min(width_px, max(shape))
        area_px = float(np.minimum(lengths_px * widest_px, shape[0] * shape[1]).sum())
        whole = np.rint(ends * 2**_SHIFT).astype(np.int64).tolist()
        value = KEPT if stroke.kind == "keep" else REMOVED
        return cls(value, width_px, [(tuple(start), tuple(end)) for start, end in whole], area_px)


def _clipped(segments: NDArray[np.float64], shape: tuple[int, int], *, margin_px: int) -> NDArray[np.float64]:
    """Cut segments (n, 2, 2) off at a margin around the picture, by the method of Liang and Barsky.

    OpenCV would overflow far outside. Segments that are outside as a whole are left out.
    """
    lowest, highest = np.array([-margin_px, -margin_px]), np.array(shape[::-1]) + margin_px
    start, move = segments[:, 0], segments[:, 1] - segments[:, 0]
    is_still = move == 0
    moves = np.where(is_still, 1, move)
    entries = np.stack([(lowest - start) / moves, (highest - start) / moves])
    first = np.where(is_still, 0, entries.min(axis=0)).max(axis=1).clip(min=0)
    last = np.where(is_still, 1, entries.max(axis=0)).min(axis=1).clip(max=1)
    is_outside = (is_still & ((start < lowest) | (start > highest))).any(axis=1)
    ends = np.stack([start + first[:, None] * move, start + last[:, None] * move], axis=1)
    return np.asarray(ends[(first <= last) & ~is_outside], np.float64)

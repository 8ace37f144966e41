"""Painting: keep and remove strokes, and pictures of them, become one map of what is painted.

The map is a trimap: 255 is to keep, 0 to remove, and 128 is not painted.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Grey, Mask, Trimap
from app.imaging.progress import Check, no_check

MAX_STROKES, MAX_POINTS = 256, 8192
"""The most strokes of a request, and the most points of all of them."""
MAX_TEXT_BYTES = 128 * 1024
KEPT, NOT_PAINTED, REMOVED = 255, 128, 0
PAINTED_FROM = 128
"""Minimum brightness of a painted pixel in a picture of strokes."""
STROKES_FORM = (
    f"a text (in a JSON body: a string) with a JSON list of at most {MAX_STROKES} strokes of at most "
    f"{MAX_POINTS} points: "
    '[{"kind": "keep", "width": 40, "points": [[10, 20], [30.5, 40]]}], kind keep or remove, finite numbers, '
    f"width above 0, {MAX_TEXT_BYTES // 1024} KiB"
)
_MEMBERS = {"kind", "width", "points"}
_FARTHEST_PX = 1e6  # a point is moved to at most this far from the corner, a thousand times a picture's side
_SHIFT = 4  # bits of sub-pixel position
_MAX_WIDTH_PX = 32_767  # of OpenCV's lines; twice the longest side of a picture
_MAX_COVERAGE = 64  # of the picture by all strokes together, since wide ones take long to draw


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line of round ends that a person painted.

    Attributes:
        kind: What it demands.
        width_px: Its diameter.
        points: (x, y) in pixels of the upright picture, from its top left corner; they may be outside.
    """

    kind: Literal["keep", "remove"]
    width_px: float
    points: tuple[tuple[float, float], ...]


def parse_strokes(text: str) -> tuple[Stroke, ...]:
    """Parse strokes in JSON.

    Raises:
        ValueError: The text is too long, has too many strokes or points, or is not of this form.
    """
    if len(text) > MAX_TEXT_BYTES or text.count("{") > MAX_STROKES:
        raise ValueError("there are too many strokes")
    if text.count("[") > MAX_POINTS + MAX_STROKES + 1:  # before they are parsed
        raise ValueError("there are too many points")
    try:
        strokes = json.loads(text)
    except RecursionError as error:
        raise ValueError("the text is nested too deeply") from error
    if not isinstance(strokes, list):
        raise ValueError("this is not a list")
    parsed = tuple(_stroke(stroke) for stroke in strokes)
    if sum(len(stroke.points) for stroke in parsed) > MAX_POINTS:
        raise ValueError("there are too many points")
    return parsed


def _stroke(stroke: object) -> Stroke:
    if not isinstance(stroke, dict) or set(stroke) != _MEMBERS or not isinstance(stroke["points"], list):
        raise ValueError("a stroke has a kind, a width and points")
    kind, width_px = stroke["kind"], _finite(stroke["width"])
    if kind not in ("keep", "remove") or width_px <= 0 or not stroke["points"]:
        raise ValueError("a stroke keeps or removes, has a width above 0 and at least a point")
    return Stroke(kind, width_px, tuple(_point(point) for point in stroke["points"]))


def _point(point: object) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise ValueError("a point is two numbers")
    return _finite(point[0]), _finite(point[1])


def _finite(number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError("this is not a number")
    try:
        value = float(number)
    except OverflowError as error:
        raise ValueError("this number is too large") from error
    if not math.isfinite(value):
        raise ValueError("this number is not finite")
    return value


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

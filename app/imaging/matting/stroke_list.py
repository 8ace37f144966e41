"""Stroke list: the text of keep and remove strokes becomes values.

Imports nothing large, since the options of the command line are checked by it.
"""

import json
import math
from dataclasses import dataclass
from typing import Literal

MAX_STROKES, MAX_POINTS = 256, 8192
"""The most strokes of a request, and the most points of all of them."""
MAX_TEXT_BYTES = 128 * 1024
STROKES_FORM = (
    f"a text (in a JSON body: a string) with a JSON list of at most {MAX_STROKES} strokes of at most "
    f"{MAX_POINTS} points: "
    '[{"kind": "keep", "width": 40, "points": [[10, 20], [30.5, 40]]}], kind keep or remove, finite numbers, '
    f"width above 0, {MAX_TEXT_BYTES // 1024} KiB"
)
_MEMBERS = {"kind", "width", "points"}


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

"""Placement: computes where the subject lies on the canvas; ``arrange.py`` moves the pixels.

    picture ──region──▶ network's input ──▶ subject's box ──crop, scale, position──▶ canvas

Rule 1: lengths are in pixels of the result, or per cent of the dimension that they refer to.
Rule 2: with ``crop`` the canvas is the subject and its margins, and ``position`` has no effect.
"""

import math
import re
from dataclasses import dataclass

from app.errors import CanvasTooLarge, RegionIsEmpty, RegionOutsidePicture

_LENGTH = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(px|%)?")
_MAX_MARGIN_PX, _MAX_MARGIN_PERCENT = 500, 50


@dataclass(frozen=True, slots=True)
class Length:
    """A number of pixels, or a percentage of something."""

    value: float
    is_percent: bool = False

    def pixels(self, whole: int) -> int:
        """Return the length in pixels, rounded to nearest (halves up); a percentage is of ``whole``."""
        return math.floor((self.value * whole / 100 if self.is_percent else self.value) + 0.5)


Corners = tuple[Length, Length, Length, Length]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A part of a picture, in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width, in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height, in pixels."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Layout:
    """The client's options for the subject's place on the canvas.

    Attributes:
        crop: The canvas is the subject and its margins.
        margins: Of a crop: top, right, bottom, left; per cent of the subject's height or width.
        scale: Fraction of the canvas that the subject fills in its longer dimension; ``None`` keeps its size.
        position: Fractions of the free space to its left and above it; ``None`` keeps its place, or centres
            it if it is scaled.
    """

    crop: bool = False
    margins: tuple[Length, Length, Length, Length] = (Length(0),) * 4
    scale: float | None = None
    position: tuple[float, float] | None = None

    @property
    def moves(self) -> bool:
        """Whether any option moves the subject."""
        return self.crop or self.scale is not None or self.position is not None


@dataclass(frozen=True, slots=True)
class Placement:
    """The part ``source`` of a picture and its place ``target`` on a canvas of (height, width)."""

    height: int
    width: int
    source: Rectangle
    target: Rectangle


def place(height: int, width: int, subject: Rectangle | None, layout: Layout) -> Placement:
    """Compute the subject's place on the canvas.

    Args:
        height: Of the picture, in pixels.
        width: Likewise.
        subject: The subject's box; without one, the picture stays as it is.
        layout: The requested layout.
    """
    whole = Rectangle(0, 0, width, height)
    if subject is None or not layout.moves:
        return Placement(height, width, whole, whole)
    if layout.crop:
        top, right, bottom, left = (
            margin.pixels(subject.height if vertical else subject.width)
            for margin, vertical in zip(layout.margins, (True, False, True, False), strict=True)
        )
        target = Rectangle(left, top, left + subject.width, top + subject.height)
        return Placement(target.bottom + bottom, target.right + right, subject, target)
    factor = 1.0
    if layout.scale is not None:
        factor = layout.scale * min(width / subject.width, height / subject.height)
    new_width = min(width, max(1, math.floor(subject.width * factor + 0.5)))
    new_height = min(height, max(1, math.floor(subject.height * factor + 0.5)))
    left, top = subject.left, subject.top
    position = layout.position or ((0.5, 0.5) if layout.scale is not None else None)
    if position is not None:
        left = math.floor((width - new_width) * position[0] + 0.5)
        top = math.floor((height - new_height) * position[1] + 0.5)
    return Placement(height, width, subject, Rectangle(left, top, left + new_width, top + new_height))


def largest_canvas(height: int, width: int, layout: Layout) -> tuple[int, int]:
    """Return the maximum (height, width) of a canvas, for any subject in a picture of this size."""
    if not layout.crop:
        return height, width
    whole = Rectangle(0, 0, width, height)
    placement = place(height, width, whole, layout)
    return placement.height, placement.width


def check_canvas(placement: Placement, *, limit_px: int, limit_side_px: int) -> None:
    """Refuse a canvas that has too many pixels or too long a side.

    Raises:
        CanvasTooLarge: The canvas exceeds one of the two limits.
    """
    height, width = placement.height, placement.width
    if height * width > limit_px or max(height, width) > limit_side_px:
        raise CanvasTooLarge(width, height, limit_px=limit_px, limit_side_px=limit_side_px)


def shrunk_size(height: int, width: int, max_px: int) -> tuple[int, int]:
    """Return the largest (height, width) of the same shape with at most ``max_px`` pixels."""
    if height * width <= max_px:
        return height, width
    factor = math.sqrt(max_px / (height * width))
    return max(1, math.floor(height * factor)), max(1, math.floor(width * factor))


def parse_length(text: str) -> Length:
    """Parse ``10``, ``10px`` or ``10%``.

    Raises:
        ValueError: The text is not a length.
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise ValueError("not a length")
    return Length(float(match[1]), is_percent=match[2] == "%")


def parse_margins(text: str) -> tuple[Length, Length, Length, Length]:
    """Parse one length for all sides, two (top and bottom, left and right) or four (from the top, clockwise).

    Raises:
        ValueError: The text is none of these, or a margin is over half of the subject or 500 pixels.
    """
    lengths = [parse_length(word) for word in text.split()]
    if any(
        length.value > (_MAX_MARGIN_PERCENT if length.is_percent else _MAX_MARGIN_PX) for length in lengths
    ):
        raise ValueError("too large a margin")
    if len(lengths) == 1:
        return (lengths[0],) * 4
    if len(lengths) == 2:
        return lengths[0], lengths[1], lengths[0], lengths[1]
    if len(lengths) == 4:
        return lengths[0], lengths[1], lengths[2], lengths[3]
    raise ValueError("not 1, 2 or 4 lengths")


def parse_scale(text: str) -> float | None:
    """Parse ``original``, or a percentage from 10 to 100 as a fraction of 1.

    Raises:
        ValueError: The text is neither.
    """
    if text == "original":
        return None
    length = parse_length(text)
    if not length.is_percent or not 10 <= length.value <= 100:
        raise ValueError("not a scale")
    return length.value / 100


def parse_position(text: str) -> tuple[float, float] | None:
    """Parse ``original``, ``center``, or one or two percentages of the free space, across and down.

    Raises:
        ValueError: The text is none of these.
    """
    if text == "original":
        return None
    if text == "center":
        return 0.5, 0.5
    lengths = [parse_length(word) for word in text.split()]
    if len(lengths) not in (1, 2) or any(not length.is_percent or length.value > 100 for length in lengths):
        raise ValueError("not a position")
    return lengths[0].value / 100, lengths[-1].value / 100


def parse_region(text: str) -> Corners:
    """Parse ``x1 y1 x2 y2``, two corners of a region.

    Raises:
        ValueError: The text is not four lengths.
    """
    left, top, right, bottom = (parse_length(word) for word in text.split())
    return left, top, right, bottom


def region_of(corners: Corners, height: int, width: int) -> Rectangle:
    """Return a region of a picture; its corners may be in any order.

    Raises:
        RegionOutsidePicture: The region reaches beyond the picture.
        RegionIsEmpty: The region contains no pixel.
    """
    x1, y1, x2, y2 = (
        corner.pixels(whole) for corner, whole in zip(corners, (width, height, width, height), strict=True)
    )
    region = Rectangle(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if region.right > width or region.bottom > height:
        raise RegionOutsidePicture
    if region.width == 0 or region.height == 0:
        raise RegionIsEmpty
    return region

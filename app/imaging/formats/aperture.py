"""Aperture: reads the visible part of an AVIF's picture from its ``clap`` property.

libavif decodes the whole picture and leaves the crop to its caller; libheif crops by itself.
"""

import struct
from fractions import Fraction

from app.imaging.formats.isobmff import Item, declared_size

Window = tuple[slice, slice]
"""Rows and columns."""

_NUMBERS = struct.Struct(">IIIIiIiI")


class UnusableApertureError(ValueError):
    """The clean aperture is cut off, empty or reaches beyond the picture."""


def clean_aperture(upload: bytes, item: Item) -> Window | None:
    """Return the visible rows and columns of an item, as stored; ``None`` without a clean aperture.

    The aperture's size and the offset of its centre from the picture's are fractions (ISO 14496-12, 12.1.4);
    the first row and column are rounded down, the size to nearest, as in libheif.

    Raises:
        UnusableApertureError: The aperture is cut off, empty or reaches beyond the picture.
    """
    clap = next((box for box in item.properties if box.name == b"clap"), None)
    if clap is None:
        return None
    if clap.end - clap.start < _NUMBERS.size:
        raise UnusableApertureError
    width, _, height, _, right, _, down, _ = numbers = _NUMBERS.unpack_from(upload, clap.start)
    if 0 in numbers[1::2]:
        raise UnusableApertureError
    width, height, right, down = (Fraction(*numbers[at : at + 2]) for at in (0, 2, 4, 6))
    whole_width, whole_height = declared_size(upload, item)
    return _span(whole_height, height, down), _span(whole_width, width, right)


def _span(whole_px: int, visible: Fraction, offset: Fraction) -> slice:
    first, length = (offset + (whole_px - visible) / 2) // 1, round(visible)
    if length < 1 or first < 0 or first + length > whole_px:
        raise UnusableApertureError
    return slice(int(first), int(first) + length)

"""Aperture: the part of a stored picture that is to be shown, by the ``clap`` property of an AVIF.

libavif decodes all of the picture and leaves the cut to its caller; libheif makes it by itself.
"""

import struct
from fractions import Fraction

from app.imaging.formats.isobmff import Item, declared_size

Part = tuple[slice, slice]
"""Rows and columns."""

_NUMBERS = struct.Struct(">IIIIiIiI")


class UnusableApertureError(ValueError):
    """The clean aperture is cut off, empty or reaches beyond the picture."""


def clean_aperture(upload: bytes, item: Item) -> Part | None:
    """Return which rows and columns of an item, as stored, are to be shown; ``None`` if all are.

    Its size and the offset of its centre from the picture's are fractions (ISO 14496-12, 12.1.4); the first
    row and column are rounded down, the size to nearest, as libheif does.

    Raises:
        UnusableApertureError: They make no sense.
    """
    part = next((part for part in item.properties if part.name == b"clap"), None)
    if part is None:
        return None
    if part.end - part.start < _NUMBERS.size:
        raise UnusableApertureError
    width, _, height, _, right, _, down, _ = numbers = _NUMBERS.unpack_from(upload, part.start)
    if 0 in numbers[1::2]:
        raise UnusableApertureError
    width, height, right, down = (Fraction(*numbers[at : at + 2]) for at in (0, 2, 4, 6))
    whole_width, whole_height = declared_size(upload, item)
    return _span(whole_height, height, down), _span(whole_width, width, right)


def _span(whole_px: int, shown: Fraction, offset: Fraction) -> slice:
    first, length = (offset + (whole_px - shown) / 2) // 1, round(shown)
    if length < 1 or first < 0 or first + length > whole_px:
        raise UnusableApertureError
    return slice(int(first), int(first) + length)

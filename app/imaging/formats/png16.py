"""Deep: a PNG of 16 bits a sample becomes 8 bits by rounding, where Pillow would cut off the low byte.

Strategy: Pillow's decoder unpacks 16-bit colours to their high bytes, or, when told that they are in the
other byte order, to their low ones. Two passes give both, without another decoder that sees hostile bytes.
Grey with alpha has no such pair of unpackers, but its pixels of four bytes are laid out as RGBA of 8 bits
are, so that is what the header is made to say.
"""

import struct
import zlib

import cv2
import numpy as np

from app.imaging.formats.pillow import load, opaque_where, pixels, shown
from app.imaging.formats.raw_picture import Colours, Stored
from app.imaging.formats.sniff import Header
from app.imaging.resample import strips_of

_IHDR_AT, _DEPTH_AT, _COLOUR_AT, _CRC_AT = 12, 24, 25, 29  # in the file
_GREY, _GREY_WITH_ALPHA, _RGBA = 0, 4, 6  # colour types


def is_deep(upload: bytes, header: Header) -> bool:
    """Return whether an upload is a PNG of 16 bits a sample."""
    return header.format == "png" and upload[_DEPTH_AT] == 16


def read_deep(upload: bytes, header: Header, *, levels: Colours | None = None) -> Stored:
    """Read a PNG of 16 bits a sample.

    Args:
        upload: The bytes of the file.
        header: What ``sniff`` said about them.
        levels: (65536,), the 8-bit level of each 16-bit number of a colour, if not the nearest. Of linear
            light 8 bits would leave no shadows.

    Raises:
        CorruptPicture: Its size is not the one that its header declares.
        READER_ERRORS: Its data is broken or cut off.
    """
    visible, colour = shown(upload, "png"), upload[_COLOUR_AT]
    transparent = None
    if colour == _GREY:
        stored = load(visible, header)
        deep, transparent = np.asarray(stored), stored.info.get("transparency")
        high, low = (deep >> 8).astype(np.uint8), (deep & 255).astype(np.uint8)
    elif colour == _GREY_WITH_ALPHA:
        pairs = pixels(load(_as_rgba(visible), header), "RGBA")
        high, low = pairs[:, :, ::2], pairs[:, :, 1::2]
    else:
        stored = load(visible, header)
        mode, transparent = stored.mode, stored.info.get("transparency")
        high, low = pixels(stored, mode), pixels(load(visible, header, rawmode=f"{mode};16L"), mode)
    rounded = round_to_8_bits(high, low)
    if levels is not None:
        _recode(rounded, high, low, levels, has_alpha=colour in (_GREY_WITH_ALPHA, _RGBA))
    if colour in (_GREY_WITH_ALPHA, _RGBA):
        return Stored(_squeezed(rounded[:, :, :-1]), np.ascontiguousarray(rounded[:, :, -1]))
    if transparent is None:
        return Stored(rounded)
    is_other = (high != np.array(transparent) >> 8) | (low != np.array(transparent) & 255)
    return Stored(rounded, opaque_where(is_other if colour == _GREY else is_other.any(axis=2)))


def _recode(rounded: Colours, high: Colours, low: Colours, levels: Colours, *, has_alpha: bool) -> None:
    """Write the level of each sample's number into its place; alpha stays as it is."""
    channels = slice(None, -1) if has_alpha else slice(None)
    for rows in strips_of(rounded.shape[0], rounded[0].size):
        part = (rows, slice(None), channels) if rounded.ndim == 3 else (rows,)
        rounded[part] = levels[high[part].astype(np.uint16) << 8 | low[part]]


def round_to_8_bits(high: Colours, low: Colours) -> Colours:
    """Scale 16-bit samples by 255 / 65535 and round to nearest, given their two bytes.

    A sample is ``257 high + (low - high)``, so the answer is the high byte, or one beside it where the two
    differ by more than half of 257.
    """
    return high + (cv2.subtract(low, high) > 128) - (cv2.subtract(high, low) > 128)


def _as_rgba(visible: bytes) -> bytes:
    """Declare 8-bit RGBA, which has as many bytes a pixel, and so the same filters and passes."""
    header = visible[_IHDR_AT:_DEPTH_AT] + bytes((8, _RGBA)) + visible[_COLOUR_AT + 1 : _CRC_AT]
    return visible[:_IHDR_AT] + header + struct.pack(">I", zlib.crc32(header)) + visible[_CRC_AT + 4 :]


def _squeezed(colours: Colours) -> Colours:
    return np.ascontiguousarray(colours[:, :, 0] if colours.shape[2] == 1 else colours)

"""16-bit PNG: reads a PNG of 16 bits a sample and rounds it to 8, where Pillow would drop the low byte.

Strategy: Pillow's decoder unpacks 16-bit colours to their high bytes or, if the raw mode has the other byte
order, to their low bytes. Two passes give both, without exposing another decoder to hostile bytes. Grey with
alpha has no such pair of unpackers, but its four-byte pixels have the layout of 8-bit RGBA, so the header is
changed to declare that.
"""

import struct
import zlib

import cv2
import numpy as np

from app.imaging.formats.pillow import load, opaque_where, pixels, strip_metadata
from app.imaging.formats.raw_picture import Colours, RawPicture
from app.imaging.formats.sniff import Header
from app.imaging.resample import strips_of

_IHDR_AT, _DEPTH_AT, _COLOUR_AT, _CRC_AT = 12, 24, 25, 29  # in the file
_GREY, _GREY_WITH_ALPHA, _RGBA = 0, 4, 6  # colour types


def is_png16(upload: bytes, header: Header) -> bool:
    """Return whether an upload is a PNG of 16 bits a sample."""
    return header.format == "png" and upload[_DEPTH_AT] == 16


def read_png16(upload: bytes, header: Header, *, levels: Colours | None = None) -> RawPicture:
    """Read a PNG of 16 bits a sample.

    Args:
        upload: The bytes of the file.
        header: The result of ``sniff``.
        levels: (65536,), the 8-bit level of each 16-bit number of a colour, instead of the nearest. Linear
            light rounded to 8 bits would lose its shadows.

    Raises:
        CorruptPicture: The picture's size is not the one that its header declares.
        READER_ERRORS: The data is broken or cut off.
    """
    stripped, colour = strip_metadata(upload, "png"), upload[_COLOUR_AT]
    transparent = None
    if colour == _GREY:
        image = load(stripped, header)
        samples, transparent = np.asarray(image), image.info.get("transparency")
        high, low = (samples >> 8).astype(np.uint8), (samples & 255).astype(np.uint8)
    elif colour == _GREY_WITH_ALPHA:
        pairs = pixels(load(_as_rgba(stripped), header), "RGBA")
        high, low = pairs[:, :, ::2], pairs[:, :, 1::2]
    else:
        image = load(stripped, header)
        mode, transparent = image.mode, image.info.get("transparency")
        high, low = pixels(image, mode), pixels(load(stripped, header, rawmode=f"{mode};16L"), mode)
    rounded = round_to_8_bits(high, low)
    if levels is not None:
        _recode(rounded, high, low, levels, has_alpha=colour in (_GREY_WITH_ALPHA, _RGBA))
    if colour in (_GREY_WITH_ALPHA, _RGBA):
        return RawPicture(_squeezed(rounded[:, :, :-1]), np.ascontiguousarray(rounded[:, :, -1]))
    if transparent is None:
        return RawPicture(rounded)
    differs = (high != np.array(transparent) >> 8) | (low != np.array(transparent) & 255)
    return RawPicture(rounded, opaque_where(differs if colour == _GREY else differs.any(axis=2)))


def _recode(rounded: Colours, high: Colours, low: Colours, levels: Colours, *, has_alpha: bool) -> None:
    """Replace each colour sample by the level of its 16-bit number, in place; alpha stays as it is."""
    channels = slice(None, -1) if has_alpha else slice(None)
    for rows in strips_of(rounded.shape[0], rounded[0].size):
        strip = (rows, slice(None), channels) if rounded.ndim == 3 else (rows,)
        rounded[strip] = levels[high[strip].astype(np.uint16) << 8 | low[strip]]


def round_to_8_bits(high: Colours, low: Colours) -> Colours:
    """Scale 16-bit samples by 255 / 65535 and round to nearest, given their two bytes.

    A sample is ``257 high + (low - high)``, so the result is the high byte, or that plus or minus one where
    the two differ by more than half of 257.
    """
    return high + (cv2.subtract(low, high) > 128) - (cv2.subtract(high, low) > 128)


def _as_rgba(stripped: bytes) -> bytes:
    """Declare 8-bit RGBA, which has as many bytes a pixel, and thus the same filters and passes."""
    header = stripped[_IHDR_AT:_DEPTH_AT] + bytes((8, _RGBA)) + stripped[_COLOUR_AT + 1 : _CRC_AT]
    return stripped[:_IHDR_AT] + header + struct.pack(">I", zlib.crc32(header)) + stripped[_CRC_AT + 4 :]


def _squeezed(colours: Colours) -> Colours:
    return np.ascontiguousarray(colours[:, :, 0] if colours.shape[2] == 1 else colours)

"""PNG: pixels become a PNG file, an order of magnitude faster than Pillow writes one.

Strategy: nearly all of a PNG's cost is deflate. Each scanline is filtered by one subtraction in numpy and
deflated by Intel's ISA-L at level 1: a tenth of the time of zlib's level 1, and about its size. Which of
three filters is worth most depends on the picture: photos want the difference to the left or to the row
above, grey maps the row above, yes/no masks often none at all. So each is tried on a sample of the rows,
and the best one is used for the whole picture. Strips of about a megabyte go through one compressor, so
that the filtered copy stays in the cache and is never held whole; each strip is an IDAT chunk.
"""

import struct
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from app.imaging.progress import Check, no_check

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels: grey, truecolour, truecolour with alpha
_PERCEPTUAL = b"\x00"  # rendering intent of the sRGB chunk
_NONE, _SUB, _UP = 0, 1, 2  # filter types; the dearer ones cost more than they save
_DEFLATE_LEVEL = 1
_STRIP_BYTES = 1 << 20
_BAND_ROWS = 16  # of a sample: rows that follow each other, or the row above would say nothing
_BANDS_AT_LEAST = 8
_BANDS_BETWEEN = 24  # at most: of a large picture a 24th is tried, so that three trials cost an eighth


def encode_png(pixels: NDArray[np.uint8], *, check: Check = no_check) -> bytes:
    """Encode 8-bit pixels as PNG: no metadata, not interlaced; colours are declared to be sRGB.

    Args:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha.
        check: Called for each strip.

    Raises:
        ValueError: The array has another shape or type, or no pixels.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.ndim not in (2, 3) or channels not in _COLOUR_TYPES:
        raise ValueError(f"a PNG is (H, W), (H, W, 3) or (H, W, 4), not {pixels.shape}")
    if pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"a PNG needs 8-bit pixels, not {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = [_SIGNATURE, *_chunk(b"IHDR", header)]
    if channels > 1:
        parts += _chunk(b"sRGB", _PERCEPTUAL)
    for deflated in _deflated(pixels.reshape(height, width * channels), channels, check):
        parts += _chunk(b"IDAT", deflated)
    return b"".join([*parts, *_chunk(b"IEND", b"")])


def _deflated(rows: NDArray[np.uint8], channels: int, check: Check) -> Iterator[bytes]:
    """Yield one zlib stream over the filtered rows, in pieces."""
    kind = _best_filter(rows, channels, check)
    compressor = isal_zlib.compressobj(_DEFLATE_LEVEL)
    strip_rows = max(1, _STRIP_BYTES // rows.shape[1])
    for top in range(0, len(rows), strip_rows):
        check()
        piece = compressor.compress(_filtered(rows, slice(top, top + strip_rows), channels, kind))
        if piece:
            yield piece
    yield compressor.flush()


def _best_filter(rows: NDArray[np.uint8], channels: int, check: Check) -> int:
    """Return the type of the filter that makes a sample of the rows smallest."""
    bands = -(-len(rows) // _BAND_ROWS)
    step = _BAND_ROWS * min(_BANDS_BETWEEN, -(-bands // _BANDS_AT_LEAST))
    sample = [slice(top, top + _BAND_ROWS) for top in range(0, len(rows), step)]

    def size_bytes(kind: int) -> int:
        check()
        compressor = isal_zlib.compressobj(_DEFLATE_LEVEL)
        pieces = [compressor.compress(_filtered(rows, band, channels, kind)) for band in sample]
        return sum(map(len, pieces)) + len(compressor.flush())

    return min((_UP, _SUB, _NONE), key=size_bytes)


def _filtered(rows: NDArray[np.uint8], part: slice, channels: int, kind: int) -> NDArray[np.uint8]:
    """Filter some rows of bytes, each preceded by its filter's type; differences wrap around at 256."""
    strip = rows[part]
    filtered = np.empty((len(strip), 1 + rows.shape[1]), dtype=np.uint8)
    filtered[:, 0] = kind
    if kind == _SUB:
        filtered[:, 1 : 1 + channels] = strip[:, :channels]
        np.subtract(strip[:, channels:], strip[:, :-channels], out=filtered[:, 1 + channels :])
        return filtered
    as_it_is = len(strip) if kind == _NONE else int(part.start == 0)  # above the first row there is nothing
    filtered[:as_it_is, 1:] = strip[:as_it_is]
    above = rows[part.start + as_it_is - 1 : part.start + len(strip) - 1]
    np.subtract(strip[as_it_is:], above, out=filtered[as_it_is:, 1:])
    return filtered


def _chunk(name: bytes, payload: bytes) -> tuple[bytes, bytes, bytes]:
    checksum = isal_zlib.crc32(payload, isal_zlib.crc32(name))
    return struct.pack(">I4s", len(payload), name), payload, struct.pack(">I", checksum)

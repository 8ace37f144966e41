"""Rows: a PNG has to hold every row that its header promises.

Pillow takes a compressed stream that ends early, in good order, for a picture whose last rows are black. To
inflate everything twice would cost a photograph a quarter of its decoding, so there are two ways to tell:
a file with little data for its size is inflated and measured before any picture is made, which is fast as
there is little to inflate; any other is decoded over a colour, and measured only where its last row still
has it.
"""

from collections.abc import Iterator

from isal import isal_zlib
from isal.igzip_lib import IsalError
from PIL import Image

from app.imaging.formats.containers import png_chunks

_DENSE = 8
"""Raw bytes for each compressed one; a photograph has 1 to 4."""
_PIECE_BYTES = 256 * 1024
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_UNLIKELY = 173, 74, 201, 118


def is_dense(upload: bytes) -> bool:
    """Return whether a PNG that is not interlaced has so much data that decoding it tells the most."""
    data_bytes = sum(chunk.end - chunk.start for chunk in png_chunks(upload) if chunk.name == b"IDAT")
    return upload[28] == 0 and _promised_bytes(upload) <= _DENSE * data_bytes


def lacks_rows(upload: bytes) -> bool:
    """Return whether a PNG's data inflates to less than its header promises, or not at all."""
    left = _promised_bytes(upload)
    try:
        for piece in _inflated(upload):
            left -= piece
            if left <= 0:
                return False
    except IsalError:  # type: ignore[misc] # a class, whatever its stub says
        return True
    return left > 0


def paint(stored: Image.Image) -> None:
    """Give a picture that is about to be decoded a colour that its last row is unlikely to have."""
    bands = len(stored.getbands())
    colour = 41_130 if stored.mode.startswith("I") else _UNLIKELY[0] if bands == 1 else _UNLIKELY[:bands]
    stored.im = Image.core.fill(stored.mode, stored.size, colour)  # type: ignore[attr-defined] # as Image.new


def is_paint_left(stored: Image.Image) -> bool:
    """Return whether the last row of a decoded picture has one colour throughout, as paint would."""
    width, height = stored.size
    extrema = stored.crop((0, height - 1, width, height)).getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in pairs)


def _promised_bytes(upload: bytes) -> int:
    """Return how many bytes the rows of a PNG take, each with the byte that names its filter."""
    width, height = int.from_bytes(upload[16:20], "big"), int.from_bytes(upload[20:24], "big")
    bits = upload[24] * _CHANNELS.get(upload[25], 1)
    passes = _ADAM7 if upload[28] else ((0, 0, 1, 1),)
    total = 0
    for top, left, down, right in passes:
        rows, columns = -((top - height) // down), -((left - width) // right)
        if rows > 0 and columns > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflated(upload: bytes) -> Iterator[int]:
    """Yield how many bytes each next piece of a PNG's data inflates to."""
    inflating = isal_zlib.decompressobj()
    for chunk in png_chunks(upload):
        if chunk.name != b"IDAT":
            continue
        for start in range(chunk.start, chunk.end, _PIECE_BYTES):  # what is left of each piece is copied
            data, size = upload[start : min(start + _PIECE_BYTES, chunk.end)], _PIECE_BYTES
            # A piece as long as it may be can have more behind it, though its input is used up.
            while not inflating.eof and (data or size == _PIECE_BYTES):
                size = len(inflating.decompress(data, _PIECE_BYTES))
                yield size
                data = inflating.unconsumed_tail

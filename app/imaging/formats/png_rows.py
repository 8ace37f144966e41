"""PNG rows: checks that a PNG contains every row that its header declares.

Pillow decodes a compressed stream that ends early, but is otherwise valid, as a picture whose last rows are
black. Inflating everything twice would cost a photograph a quarter of its decoding time, so there are two
checks: a file with little data for its size is inflated and measured before it is decoded, which is fast
since there is little to inflate; any other is decoded, and measured only if its last row has one colour, as a
missing row has.
"""

from collections.abc import Iterator

from isal import isal_zlib
from isal.igzip_lib import IsalError
from PIL import Image

from app.imaging.formats.containers import png_chunks

_MAX_DENSE_RATIO = 8
"""Of raw to compressed bytes; a photograph's is 1 to 4."""
_SLICE_BYTES = 256 * 1024
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def is_dense(upload: bytes) -> bool:
    """Return whether a PNG is not interlaced and has much data, so that checking its last row is cheaper."""
    data_bytes = sum(chunk.end - chunk.start for chunk in png_chunks(upload) if chunk.name == b"IDAT")
    return upload[28] == 0 and _expected_bytes(upload) <= _MAX_DENSE_RATIO * data_bytes


def lacks_rows(upload: bytes) -> bool:
    """Return whether a PNG's data inflates to less than its header declares, or not at all."""
    missing = _expected_bytes(upload)
    try:
        for inflated_bytes in _inflated(upload):
            missing -= inflated_bytes
            if missing <= 0:
                return False
    except IsalError:  # type: ignore[misc] # a class, despite its stub
        return True
    return missing > 0


def is_last_row_uniform(image: Image.Image) -> bool:
    """Return whether the last row of a decoded picture has one colour, as a row without data has."""
    width, height = image.size
    extrema = image.crop((0, height - 1, width, height)).getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in pairs)


def _expected_bytes(upload: bytes) -> int:
    """Return the number of bytes of a PNG's rows, each with its filter type byte."""
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
    """Yield the number of bytes that each slice of a PNG's data inflates to."""
    decompressor = isal_zlib.decompressobj()
    for chunk in png_chunks(upload):
        if chunk.name != b"IDAT":
            continue
        for start in range(
            chunk.start, chunk.end, _SLICE_BYTES
        ):  # slices, since each unconsumed tail is copied
            deflated, size = upload[start : min(start + _SLICE_BYTES, chunk.end)], _SLICE_BYTES
            # After an output of the maximum size more may follow, even if the input is used up.
            while not decompressor.eof and (deflated or size == _SLICE_BYTES):
                size = len(decompressor.decompress(deflated, _SLICE_BYTES))
                yield size
                deflated = decompressor.unconsumed_tail

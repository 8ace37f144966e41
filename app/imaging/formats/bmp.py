"""BMP: reads the size of a Windows bitmap and refuses those that take too long to decode.

Of the compressed kinds Pillow reads only run lengths, pair by pair in Python, so such files must be small.

References:
    Microsoft, BITMAPINFOHEADER, BITMAPV5HEADER; Bitmap Storage.
"""

import struct

from app.errors import CorruptPicture, PictureTooComplex

BMP_MAGIC = b"BM"
BMP_MIN_BYTES = 18
"""Up to the kind of header; a shorter file could as well be a text that begins with BM."""
MAX_RUNS_BYTES, MAX_RUNS_PX = 64 * 1024, 1_000_000
"""Of a run-length bitmap, which Pillow reads pixel by pixel: 20 s for 48 megapixels from 13 kB."""
_TOO_MANY_RUNS = "The BMP file is compressed and large. Save it as a PNG."
_CORE_HEADER = 12
_INFO_HEADERS = frozenset({40, 52, 56, 64, 108, 124})
_RUN_LENGTHS = frozenset({1, 2})  # of 8 bits a pixel, and of 4


def bmp_size(upload: bytes) -> tuple[int, int]:
    """Read (width, height) from the header of a bitmap; a height stored as negative means top-down rows.

    Raises:
        CorruptPicture: The header is cut off or of an unknown kind.
        PictureTooComplex: The run lengths would take too long to read.
    """
    if len(upload) < 26:
        raise CorruptPicture("The BMP file is cut off within its header.")
    kind = int.from_bytes(upload[14:18], "little")
    if kind == _CORE_HEADER:
        width_px, height_px = struct.unpack_from("<HH", upload, 18)
        return width_px, height_px
    if kind not in _INFO_HEADERS or len(upload) < 14 + kind:
        raise CorruptPicture("The BMP file's header is cut off or of an unknown kind.")
    width_px, signed_height = struct.unpack_from("<Ii", upload, 18)
    compression = int.from_bytes(upload[30:34], "little")
    if compression in _RUN_LENGTHS and len(upload) > MAX_RUNS_BYTES:
        raise PictureTooComplex(_TOO_MANY_RUNS)
    return width_px, abs(signed_height)


def check_runs(upload: bytes) -> None:
    """Refuse a run-length bitmap of more than ``MAX_RUNS_PX`` pixels.

    Raises:
        PictureTooComplex: The bitmap has more.
    """
    is_core = int.from_bytes(upload[14:18], "little") == _CORE_HEADER
    width_px, height_px = bmp_size(upload)
    has_runs = not is_core and int.from_bytes(upload[30:34], "little") in _RUN_LENGTHS
    if has_runs and width_px * height_px > MAX_RUNS_PX:
        raise PictureTooComplex(_TOO_MANY_RUNS)

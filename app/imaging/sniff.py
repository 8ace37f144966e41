"""Sniff: the bytes of an upload tell its format, size and cost before anything is decoded.

Rule 1: the bytes decide, never a file name or a declared type.
Rule 2: every byte is looked at once at most, and nothing is inflated: a 20 MB upload costs milliseconds.
Rule 3: a file that is cut off is marked as such, so that its size is judged before its wholeness.
"""

import struct
from dataclasses import dataclass

from app.errors import CorruptPicture, PictureTooComplex, PictureTooLarge, UnsupportedFormat
from app.imaging.containers import JPEG_MAGIC, PNG_MAGIC, jpeg_segments, png_chunks

ACCEPTED = ("image/jpeg", "image/png", "image/webp")

# A repeated refinement scan costs 75 bytes to send and 0.44 ms per megapixel to decode, and no decoder
# limits them. Among 3,047 decodable JPEGs the most scans was 20, and the most scans × megapixels 97.5.
MAX_SCANS = 64
MAX_SCAN_MEGAPIXELS = 1000

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn without DHT, JPG and DAC
_SOS = 0xDA


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's container says: its size is as stored, before any EXIF orientation.

    ``is_whole`` is false where the container's end is missing; decoding then fails.
    """

    format: str
    width_px: int
    height_px: int
    media_type: str
    is_whole: bool = True


def sniff(upload: bytes) -> Header:
    """Read format and size from the bytes of an upload, without decoding.

    Raises:
        UnsupportedFormat: The bytes do not begin like a JPEG, PNG or WebP.
        CorruptPicture: They do, but the header is broken or missing, or a side is zero.
        PictureTooComplex: Decoding would cost far more than the picture's pixels.
    """
    if not upload:
        raise CorruptPicture("The upload is empty.")
    if upload.startswith(JPEG_MAGIC):
        return _sniff_jpeg(upload)
    if upload.startswith(PNG_MAGIC):
        return _sniff_png(upload)
    if upload[:4] == b"RIFF" and upload[8:12] == b"WEBP":
        return _sniff_webp(upload)
    raise UnsupportedFormat(ACCEPTED)


def check_size(header: Header, *, limit_px: int, limit_side_px: int) -> None:
    """Refuse a picture that has too many pixels or too long a side.

    Raises:
        PictureTooLarge: It exceeds one of the two limits.
    """
    longest_px = max(header.width_px, header.height_px)
    if header.width_px * header.height_px > limit_px or longest_px > limit_side_px:
        raise PictureTooLarge(
            header.width_px, header.height_px, limit_px=limit_px, limit_side_px=limit_side_px
        )


def _sniff_jpeg(upload: bytes) -> Header:
    size: tuple[int, int] | None = None
    scans = 0
    for segment in jpeg_segments(upload):
        marker = segment.name[0]
        if marker in _FRAME_MARKERS and size is None:
            if segment.end - segment.start < 6:
                raise CorruptPicture("The JPEG file's frame header is cut off.")
            height_px, width_px = struct.unpack_from(">HH", upload, segment.start + 1)
            size = _checked("JPEG", width_px, height_px)
        if marker == _SOS:
            scans += 1
            _check_scans(scans, size)
    if size is None:
        raise CorruptPicture("The JPEG file is cut off before its frame header.")
    # The decoder notices missing pixels itself; a lone FF is the half of an end marker that it forgives.
    return Header("jpeg", *size, "image/jpeg", is_whole=not upload.endswith(b"\xff"))


def _check_scans(scans: int, size: tuple[int, int] | None) -> None:
    if size is None:
        raise CorruptPicture("The JPEG file begins a scan before its frame.")
    megapixels = size[0] * size[1] / 1e6
    if scans > MAX_SCANS or scans * megapixels > MAX_SCAN_MEGAPIXELS:
        raise PictureTooComplex(
            f"The JPEG file holds more scans than its {megapixels:.1f} megapixels warrant. "
            "Save it as a baseline JPEG."
        )


def _sniff_png(upload: bytes) -> Header:
    if upload[12:16] != b"IHDR" or len(upload) < 33:
        raise CorruptPicture("The PNG file does not begin with a whole header chunk.")
    size = _checked("PNG", *struct.unpack_from(">II", upload, 16))
    last = b""
    for chunk in png_chunks(upload):
        last = chunk.name
    return Header("png", *size, "image/png", is_whole=last == b"IEND")


def _sniff_webp(upload: bytes) -> Header:
    if len(upload) < 30:
        raise CorruptPicture("The WebP file is cut off.")
    size = _checked("WebP", *_webp_size(upload))
    is_whole = int.from_bytes(upload[4:8], "little") + 8 <= len(upload)
    return Header("webp", *size, "image/webp", is_whole=is_whole)


def _webp_size(upload: bytes) -> tuple[int, int]:
    """Read (width, height) from the first chunk: lossy (VP8), lossless (VP8L) or extended (VP8X)."""
    kind = upload[12:16]
    if kind == b"VP8 " and upload[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", upload, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and upload[20] == 0x2F:
        bits = int.from_bytes(upload[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width_less_1 = int.from_bytes(upload[24:27], "little")
        return width_less_1 + 1, int.from_bytes(upload[27:30], "little") + 1
    raise CorruptPicture("The WebP file's header is broken.")


def _checked(kind: str, width_px: int, height_px: int) -> tuple[int, int]:
    if width_px == 0 or height_px == 0:
        raise CorruptPicture(f"The {kind} file says that its picture has no pixels.")
    return width_px, height_px

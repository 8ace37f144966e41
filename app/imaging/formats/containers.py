"""Containers: the parts of a JPEG, PNG, WebP or GIF file, by position, without decoding anything.

Strategy: these walkers see every byte that a stranger sends before any decoder does, so each is bounded.
None copies the upload, none takes more than one pass, and a file made of countless tiny parts (which
costs Pillow microseconds apiece) is refused after ``MAX_PARTS`` of them.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import CorruptPicture, PictureTooComplex

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
GIF_MAGICS = (b"GIF87a", b"GIF89a")

MAX_PARTS = 65_536  # a 50 MB PNG in chunks of 1 KiB stays below; a 20 MB file could hold 1.7 million
_MAX_JUNK_BYTES = 65_536  # between two JPEG segments; Pillow skips junk one byte at a time in Python

MIN_MARKER = 0xC0  # what is below was never given a meaning that a file may use
_TEM, _SOI, _SOS, _EOI = 0x01, 0xD8, 0xDA, 0xD9
# TEM, SOI, RST0-7: no length follows. Nor do readers skip anything behind the reserved JPG0-13.
_BARE_MARKERS = frozenset({0x01, 0xD8, *range(0xD0, 0xD8), *range(0xF0, 0xFE)})
PIECE_BYTES = 1 << 18  # a search holds the interpreter: 0.2 ms a piece, 15 ms for 20 MB at once
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not FF00 (a stuffed FF), RST or a fill byte


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a JPEG, chunk of a PNG or WebP, block of a GIF: ``upload[start:end]`` is its payload."""

    name: bytes
    start: int
    end: int


def jpeg_segments(upload: bytes) -> Iterator[Part]:
    """Yield the segments of a JPEG up to and with EOI; the name is the marker's second byte.

    Entropy-coded data is jumped over. The walk ends quietly where the file is cut off, where a segment runs
    past its end, or where another picture begins behind a scan: without an EOI segment the end is missing.

    Raises:
        CorruptPicture: There is more junk between two segments than any writer leaves.
        PictureTooComplex: There are more than ``MAX_PARTS`` segments.
    """
    position, in_scan = 2, False
    for _ in range(MAX_PARTS):
        found = _find_marker(upload, position, in_scan=in_scan)
        if found is None:
            return
        marker, start = found
        if marker == _EOI:
            yield Part(b"\xd9", start, start)
            return
        if marker in _BARE_MARKERS:
            if marker == _SOI and in_scan:
                return
            if marker == _TEM:
                yield Part(b"\x01", start, start)
            position = start
            continue
        length = int.from_bytes(upload[start : start + 2], "big")
        length = max(length, 2)  # a lesser one is a lie, and decoders go on behind it
        if start + length > len(upload):
            return
        yield Part(bytes((marker,)), start + 2, start + length)
        position, in_scan = start + length, in_scan or marker == _SOS
    raise PictureTooComplex(f"The picture's file has more than {MAX_PARTS} parts. Save it anew.")


def next_marker(upload: bytes, position: int) -> tuple[int, int] | None:
    """Find a JPEG's next marker at or after ``position``: its second byte, and where its segment begins.

    Restart markers are passed over. The search goes piece by piece; pieces overlap by the byte that a marker
    may lie astride.
    """
    for start in range(position, len(upload), PIECE_BYTES):
        found = _NEXT_MARKER.search(upload, start, start + PIECE_BYTES + 1)
        if found is not None:
            return upload[found.end() - 1], found.end()
    return None


def last_marker(upload: bytes, position: int) -> int:
    """Return the marker of the segment, at or after ``position``, within which a JPEG is cut off, or 0."""
    for _ in range(MAX_PARTS):
        found = _find_marker(upload, position, in_scan=False)
        if found is None:
            return 0
        marker, position = found
        if marker in _BARE_MARKERS or marker == _EOI:
            continue
        length = int.from_bytes(upload[position : position + 2], "big")
        if len(upload) < position + max(length, 2):
            return marker if len(upload) >= position + 2 or marker < MIN_MARKER else 0
        position += max(length, 2)
    return 0


def png_chunks(upload: bytes) -> Iterator[Part]:
    """Yield the chunks of a PNG up to and with IEND; the walk ends quietly where the file is cut off.

    Raises:
        PictureTooComplex: There are more than ``MAX_PARTS`` chunks.
    """
    position = len(PNG_MAGIC)
    for _ in range(MAX_PARTS):
        start = position + 8
        if start > len(upload):
            return
        length, name = struct.unpack_from(">I4s", upload, position)
        position = start + length + 4  # the CRC
        if position > len(upload):
            return
        yield Part(name, start, start + length)
        if name == b"IEND":
            return
    raise PictureTooComplex(f"The picture's file has more than {MAX_PARTS} parts. Save it anew.")


def webp_chunks(upload: bytes) -> Iterator[Part]:
    """Yield the chunks of a WebP; the walk ends quietly where the file is cut off.

    Raises:
        PictureTooComplex: There are more than ``MAX_PARTS`` chunks.
    """
    position = 12
    for _ in range(MAX_PARTS):
        start = position + 8
        if start > len(upload):
            return
        name, length = struct.unpack_from("<4sI", upload, position)
        position = start + length + (length & 1)
        if start + length > len(upload):
            return
        yield Part(name, start, start + length)
    raise PictureTooComplex(f"The picture's file has more than {MAX_PARTS} parts. Save it anew.")


def is_riff_whole(upload: bytes) -> bool:
    """Return whether a WebP has as many bytes as it says, or only one less though its last chunk is whole."""
    lacking_bytes = _riff_bytes(upload) - len(upload)
    end = _chunks_end(upload) if lacking_bytes == 1 else 0
    return lacking_bytes < 1 or len(upload) <= end <= len(upload) + 1


def rounded_riff(upload: bytes) -> bytes:
    """Return a WebP as readers insist on it: as long as it says, with the padding of its last chunk.

    Writers that count that byte wrongly, or not at all, say one byte too many or too few.
    """
    end = _chunks_end(upload)
    beyond_bytes = _riff_bytes(upload) - end
    if abs(beyond_bytes) > 1 or (beyond_bytes == 0 and end <= len(upload)):
        return upload
    padding = bytes(max(0, end - len(upload)))
    return upload[:4] + struct.pack("<I", end - 8) + upload[8:end] + padding


def _riff_bytes(upload: bytes) -> int:
    return int.from_bytes(upload[4:8], "little") + 8


def _chunks_end(upload: bytes) -> int:
    """Return where the last whole chunk of a WebP ends, with its padding."""
    end = max((chunk.end for chunk in webp_chunks(upload)), default=0)
    return end + (end & 1)


def gif_blocks(upload: bytes) -> Iterator[Part]:
    """Yield the blocks of a GIF up to and with its end: ``!`` an extension, ``,`` an image, ``;`` the end.

    An image's payload begins with its descriptor, an extension's with its label. Stray bytes between two
    blocks are skipped, and the walk ends quietly where the file is cut off.

    Raises:
        PictureTooComplex: There are more than ``MAX_PARTS`` blocks, short sub-blocks and stray bytes.
    """
    position = 13 + _colour_table_bytes(upload, 10)
    left = MAX_PARTS + len(upload) // 255  # a sub-block holds up to 255 bytes; those that do cost nothing
    while position < len(upload):
        name, start = upload[position : position + 1], position + 1
        if name == b";":
            yield Part(name, start, start)
            return
        position = start
        if name in (b",", b"!"):
            data = start + 1 if name == b"!" else start + 10 + _colour_table_bytes(upload, start + 8)
            position, left = _skip_sub_blocks(upload, data, left)
            yield Part(name, start, position)
        left -= 1
        if left < 0:
            raise PictureTooComplex(f"The picture's file has more than {MAX_PARTS} parts. Save it anew.")


def has_image_data(upload: bytes, image: Part) -> bool:
    """Return whether a GIF's image goes on behind its descriptor and colour table."""
    return image.end > image.start + 9 + _colour_table_bytes(upload, image.start + 8)


def _colour_table_bytes(upload: bytes, flags_at: int) -> int:
    flags = upload[flags_at] if flags_at < len(upload) else 0
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


def _skip_sub_blocks(upload: bytes, position: int, left: int) -> tuple[int, int]:
    """Return where a chain of sub-blocks ends, inside the file, and what is left of the steps allowed."""
    while position < len(upload) and left >= 0:
        length = upload[position]
        position, left = position + 1 + length, left - 1
        if length == 0:
            break
    return min(position, len(upload)), left


def _find_marker(upload: bytes, position: int, *, in_scan: bool) -> tuple[int, int] | None:
    """Find the next marker at or after ``position``: its second byte and where its segment begins."""
    found = next_marker(upload, position)
    if found is not None and not in_scan and found[1] - 2 - position > _MAX_JUNK_BYTES:
        raise CorruptPicture("The JPEG file holds a long stretch of junk between its segments.")
    return found

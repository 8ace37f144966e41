"""Containers: finds the segments of a JPEG, PNG, WebP or GIF file by position, without decoding anything.

Strategy: these walkers read every byte of an untrusted upload before any decoder does, so each is bounded.
None copies the upload, none takes more than one pass, and a file made of countless tiny segments (each of
which costs Pillow microseconds) is refused after ``MAX_SEGMENTS`` of them.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import CorruptPicture, PictureTooComplex

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
GIF_MAGICS = (b"GIF87a", b"GIF89a")

MAX_SEGMENTS = 65_536  # a 50 MB PNG in chunks of 1 KiB stays below; a 20 MB file could hold 1.7 million
_MAX_JUNK_BYTES = 65_536  # between two JPEG segments; Pillow skips junk one byte at a time in Python

MIN_MARKER = 0xC0  # no lower marker has a meaning that a file may use
_TEM, _SOI, _SOS, _EOI = 0x01, 0xD8, 0xDA, 0xD9
# TEM, SOI, RST0-7: no length follows. Readers skip nothing after the reserved JPG0-13 either.
_BARE_MARKERS = frozenset({0x01, 0xD8, *range(0xD0, 0xD8), *range(0xF0, 0xFE)})
SLICE_BYTES = 1 << 18  # a search holds the interpreter lock: 0.2 ms a slice, 15 ms for 20 MB at once
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not FF00 (a stuffed FF), RST or a fill byte


@dataclass(frozen=True, slots=True)
class Segment:
    """A JPEG segment, PNG or WebP chunk, GIF block or ISO box: ``upload[start:end]`` is its payload."""

    name: bytes
    start: int
    end: int


def jpeg_segments(upload: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG up to and including EOI; the name is the marker's second byte.

    Entropy-coded data is skipped. The iteration ends without an EOI segment where the file is cut off, where
    a segment runs past its end, or where another picture begins after a scan.

    Raises:
        CorruptPicture: More junk lies between two segments than any writer leaves.
        PictureTooComplex: The file has more than ``MAX_SEGMENTS`` segments.
    """
    position, in_scan = 2, False
    for _ in range(MAX_SEGMENTS):
        found = _find_marker(upload, position, in_scan=in_scan)
        if found is None:
            return
        marker, start = found
        if marker == _EOI:
            yield Segment(b"\xd9", start, start)
            return
        if marker in _BARE_MARKERS:
            if marker == _SOI and in_scan:
                return
            if marker == _TEM:
                yield Segment(b"\x01", start, start)
            position = start
            continue
        length = int.from_bytes(upload[start : start + 2], "big")
        length = max(length, 2)  # a smaller one is invalid, and decoders continue after it
        if start + length > len(upload):
            return
        yield Segment(bytes((marker,)), start + 2, start + length)
        position, in_scan = start + length, in_scan or marker == _SOS
    raise PictureTooComplex(f"The picture's file has more than {MAX_SEGMENTS} parts. Save it anew.")


def next_marker(upload: bytes, position: int) -> tuple[int, int] | None:
    """Find a JPEG's next marker at or after ``position``: its second byte, and its segment's start.

    Skips restart markers. Searches slice by slice; slices overlap by one byte, so that no marker is split.
    """
    for start in range(position, len(upload), SLICE_BYTES):
        match = _NEXT_MARKER.search(upload, start, start + SLICE_BYTES + 1)
        if match is not None:
            return upload[match.end() - 1], match.end()
    return None


def last_marker(upload: bytes, position: int) -> int:
    """Return the marker of the segment at or after ``position`` in which a JPEG is cut off, or 0."""
    for _ in range(MAX_SEGMENTS):
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


def png_chunks(upload: bytes) -> Iterator[Segment]:
    """Yield the chunks of a PNG up to and including IEND; without IEND if the file is cut off.

    Raises:
        PictureTooComplex: The file has more than ``MAX_SEGMENTS`` chunks.
    """
    position = len(PNG_MAGIC)
    for _ in range(MAX_SEGMENTS):
        start = position + 8
        if start > len(upload):
            return
        length, name = struct.unpack_from(">I4s", upload, position)
        position = start + length + 4  # the CRC
        if position > len(upload):
            return
        yield Segment(name, start, start + length)
        if name == b"IEND":
            return
    raise PictureTooComplex(f"The picture's file has more than {MAX_SEGMENTS} parts. Save it anew.")


def webp_chunks(upload: bytes) -> Iterator[Segment]:
    """Yield the whole chunks of a WebP; a chunk that is cut off ends the iteration.

    Raises:
        PictureTooComplex: The file has more than ``MAX_SEGMENTS`` chunks.
    """
    position = 12
    for _ in range(MAX_SEGMENTS):
        start = position + 8
        if start > len(upload):
            return
        name, length = struct.unpack_from("<4sI", upload, position)
        position = start + length + (length & 1)
        if start + length > len(upload):
            return
        yield Segment(name, start, start + length)
    raise PictureTooComplex(f"The picture's file has more than {MAX_SEGMENTS} parts. Save it anew.")


def is_riff_whole(upload: bytes) -> bool:
    """Return whether a WebP has its declared size, or lacks one byte after a whole last chunk."""
    missing_bytes = _riff_bytes(upload) - len(upload)
    end = _chunks_end(upload) if missing_bytes == 1 else 0
    return missing_bytes < 1 or len(upload) <= end <= len(upload) + 1


def rounded_riff(upload: bytes) -> bytes:
    """Return a WebP in the form that readers require: of its declared size, with its last chunk padded.

    Writers that count the padding byte wrongly, or omit it, declare one byte too many or too few.
    """
    end = _chunks_end(upload)
    excess_bytes = _riff_bytes(upload) - end
    if abs(excess_bytes) > 1 or (excess_bytes == 0 and end <= len(upload)):
        return upload
    padding = bytes(max(0, end - len(upload)))
    return upload[:4] + struct.pack("<I", end - 8) + upload[8:end] + padding


def _riff_bytes(upload: bytes) -> int:
    return int.from_bytes(upload[4:8], "little") + 8


def _chunks_end(upload: bytes) -> int:
    """Return the end of a WebP's last whole chunk, including its padding."""
    end = max((chunk.end for chunk in webp_chunks(upload)), default=0)
    return end + (end & 1)


def gif_blocks(upload: bytes) -> Iterator[Segment]:
    """Yield the blocks of a GIF up to and including its end: ``!`` extension, ``,`` image, ``;`` end.

    An image's payload begins with its descriptor, an extension's with its label. Stray bytes between two
    blocks are skipped. If the file is cut off, the iteration ends without an end block.

    Raises:
        PictureTooComplex: The file has more than ``MAX_SEGMENTS`` blocks, short sub-blocks and stray bytes.
    """
    position = 13 + _colour_table_bytes(upload, 10)
    budget = MAX_SEGMENTS + len(upload) // 255  # full sub-blocks, of 255 bytes, are free
    while position < len(upload):
        name, start = upload[position : position + 1], position + 1
        if name == b";":
            yield Segment(name, start, start)
            return
        position = start
        if name in (b",", b"!"):
            data = start + 1 if name == b"!" else start + 10 + _colour_table_bytes(upload, start + 8)
            position, budget = _skip_sub_blocks(upload, data, budget)
            yield Segment(name, start, position)
        budget -= 1
        if budget < 0:
            raise PictureTooComplex(f"The picture's file has more than {MAX_SEGMENTS} parts. Save it anew.")


def has_image_data(upload: bytes, image: Segment) -> bool:
    """Return whether a GIF's image has data after its descriptor and colour table."""
    return image.end > image.start + 9 + _colour_table_bytes(upload, image.start + 8)


def _colour_table_bytes(upload: bytes, flags_at: int) -> int:
    flags = upload[flags_at] if flags_at < len(upload) else 0
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


def _skip_sub_blocks(upload: bytes, position: int, budget: int) -> tuple[int, int]:
    """Return the end of a chain of sub-blocks, inside the file, and the remaining budget of sub-blocks."""
    while position < len(upload) and budget >= 0:
        length = upload[position]
        position, budget = position + 1 + length, budget - 1
        if length == 0:
            break
    return min(position, len(upload)), budget


def _find_marker(upload: bytes, position: int, *, in_scan: bool) -> tuple[int, int] | None:
    """Find the next marker at or after ``position``, and refuse long junk before it outside a scan."""
    found = next_marker(upload, position)
    if found is not None and not in_scan and found[1] - 2 - position > _MAX_JUNK_BYTES:
        raise CorruptPicture("The JPEG file holds a long stretch of junk between its segments.")
    return found

"""Chunks: validates a PNG's chunks by their checksums, and drops those that a decoder must not see.

Strategy: the same as libpng's. A critical chunk, whose name begins with a capital, makes the file invalid if
its checksum is wrong; an ancillary chunk with a wrong checksum is skipped. Pillow would refuse the picture
for the latter, and does not verify the checksums of data; it therefore gets only the critical chunks, the
transparency and the animation.
"""

import zlib

from app.errors import CorruptPicture
from app.imaging.formats.containers import Segment, png_chunks

_TRANSPARENCY, _DATA = b"tRNS", b"IDAT"
_FRAMES = frozenset({b"acTL", b"fcTL"})
_ANIMATION = _FRAMES | {b"fdAT"}
_COLOUR_TYPE_AT = 25  # in the file
_TRANSPARENCY_BYTES = {0: 2, 2: 6}  # by colour type: one number, or three


def is_ancillary(chunk: Segment) -> bool:
    """Return whether a decoder may skip a chunk (PNG, clause 5.4)."""
    return bool(chunk.name[0] & 0x20)


def is_intact(upload: bytes, chunk: Segment) -> bool:
    """Return whether a chunk's checksum is that of its name and payload."""
    checksum = int.from_bytes(upload[chunk.end : chunk.end + 4], "big")
    return zlib.crc32(memoryview(upload)[chunk.start - 4 : chunk.end]) == checksum


def check_data(upload: bytes) -> None:
    """Refuse a PNG whose data has a wrong checksum.

    Raises:
        CorruptPicture: A checksum is wrong.
    """
    for chunk in png_chunks(upload):
        if chunk.name == _DATA and not is_intact(upload, chunk):
            raise CorruptPicture("The picture's data is broken or cut off.")


def needed_chunks(upload: bytes) -> bytes:
    """Return a PNG without metadata, and without transparency or animation that libpng would skip.

    Chunks between two data chunks stay, since they make the file invalid: data chunks must be consecutive.
    """
    first, last, is_animation_intact = len(upload), 0, True
    for chunk in png_chunks(upload):
        if chunk.name == _DATA:
            first, last = min(first, chunk.start), chunk.start
        if chunk.name in _FRAMES:
            is_animation_intact = is_animation_intact and is_intact(upload, chunk)
    kept, kept_to = [], 0
    for chunk in png_chunks(upload):
        is_needed = not is_ancillary(chunk) or (chunk.name in _ANIMATION and is_animation_intact)
        is_in_place = chunk.name == _TRANSPARENCY and chunk.start < first
        is_needed = is_needed or (is_in_place and _is_transparency_usable(upload, chunk))
        if not (is_needed or first < chunk.start < last):
            kept.append(upload[kept_to : chunk.start - 8])
            kept_to = chunk.end + 4
    return b"".join([*kept, upload[kept_to:]]) if kept else upload


def lacks_transparency(upload: bytes) -> bool:
    """Return whether a PNG's transparency is ignored: its checksum, length or position is wrong."""
    is_after_data = False
    for chunk in png_chunks(upload):
        is_after_data = is_after_data or chunk.name == _DATA
        if chunk.name == _TRANSPARENCY and (is_after_data or not _is_transparency_usable(upload, chunk)):
            return True
    return False


def _is_transparency_usable(upload: bytes, chunk: Segment) -> bool:
    length = chunk.end - chunk.start
    return length == _TRANSPARENCY_BYTES.get(upload[_COLOUR_TYPE_AT], length) and is_intact(upload, chunk)

"""Chunks: which parts of a PNG count, by their checksums.

Strategy: as libpng reads them. A critical chunk, whose name begins with a capital, makes no picture where its
checksum is wrong; an ancillary one is skipped, as if it had not been there. Pillow, which would fail the
picture for an ancillary one, and does not look at the checksums of data, is shown the critical chunks, the
transparency and the animation alone.
"""

import zlib

from app.errors import CorruptPicture
from app.imaging.formats.containers import Part, png_chunks

_TRANSPARENCY, _DATA = b"tRNS", b"IDAT"
_FRAMES = frozenset({b"acTL", b"fcTL"})
_ANIMATION = _FRAMES | {b"fdAT"}
_COLOUR_TYPE_AT = 25  # in the file
_TRANSPARENCY_BYTES = {0: 2, 2: 6}  # by colour type: one number, or three


def is_ancillary(chunk: Part) -> bool:
    """Return whether a decoder may skip a chunk (PNG, clause 5.4)."""
    return bool(chunk.name[0] & 0x20)


def is_intact(upload: bytes, chunk: Part) -> bool:
    """Return whether a chunk has the checksum of its name and payload."""
    checksum = int.from_bytes(upload[chunk.end : chunk.end + 4], "big")
    return zlib.crc32(memoryview(upload)[chunk.start - 4 : chunk.end]) == checksum


def check_data(upload: bytes) -> None:
    """Refuse a PNG whose data has a wrong checksum.

    Raises:
        CorruptPicture: It has.
    """
    for chunk in png_chunks(upload):
        if chunk.name == _DATA and not is_intact(upload, chunk):
            raise CorruptPicture("The picture's data is broken or cut off.")


def needed_chunks(upload: bytes) -> bytes:
    """Return a PNG without metadata, and without transparency or animation that libpng would skip.

    What stands between two chunks of data stays: those have to be consecutive.
    """
    first, last, is_animation_intact = len(upload), 0, True
    for chunk in png_chunks(upload):
        if chunk.name == _DATA:
            first, last = min(first, chunk.start), chunk.start
        if chunk.name in _FRAMES:
            is_animation_intact = is_animation_intact and is_intact(upload, chunk)
    kept, since = [], 0
    for chunk in png_chunks(upload):
        is_needed = not is_ancillary(chunk) or (chunk.name in _ANIMATION and is_animation_intact)
        is_in_place = chunk.name == _TRANSPARENCY and chunk.start < first
        is_needed = is_needed or (is_in_place and _is_transparency_usable(upload, chunk))
        if not (is_needed or first < chunk.start < last):
            kept.append(upload[since : chunk.start - 8])
            since = chunk.end + 4
    return b"".join([*kept, upload[since:]]) if kept else upload


def lacks_transparency(upload: bytes) -> bool:
    """Return whether a PNG's transparency is left out: its checksum, its length or its place is wrong."""
    is_late = False
    for chunk in png_chunks(upload):
        is_late = is_late or chunk.name == _DATA
        if chunk.name == _TRANSPARENCY and (is_late or not _is_transparency_usable(upload, chunk)):
            return True
    return False


def _is_transparency_usable(upload: bytes, chunk: Part) -> bool:
    length = chunk.end - chunk.start
    return length == _TRANSPARENCY_BYTES.get(upload[_COLOUR_TYPE_AT], length) and is_intact(upload, chunk)

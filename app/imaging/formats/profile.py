"""Profile: extracts the ICC profile of an upload from its container, without validating it.

Inflates at most ``MAX_PROFILE_BYTES``: an iCCP chunk of a PNG can be a zip bomb.
"""

import zlib

from app.imaging.formats.chunks import is_intact
from app.imaging.formats.containers import jpeg_segments, png_chunks, webp_chunks
from app.imaging.formats.isobmff import read_boxes

MAX_PROFILE_BYTES = 4 * 1024 * 1024  # profiles of printing presses have one to three
UNUSABLE = b""

_APP2, _SOS = b"\xe2", b"\xda"
_JPEG_INTRODUCTION = b"ICC_PROFILE\x00"
_ICC_KINDS = (b"prof", b"rICC")  # of a colr property; the other kind, nclx, is no ICC profile


def find_profile(upload: bytes, file_format: str) -> bytes | None:
    """Extract the ICC profile of an upload.

    Returns:
        ``None`` if the upload has none, and ``UNUSABLE`` if it is cut off, cannot be inflated or is larger
        than ``MAX_PROFILE_BYTES``.
    """
    profile = None
    if file_format == "jpeg":
        profile = _from_jpeg(upload)
    elif file_format == "png":
        profile = _from_png(upload)
    elif file_format == "webp":
        profile = _from_webp(upload)
    elif file_format in ("avif", "heic"):
        profile = _from_boxes(upload)
    if profile is not None and len(profile) > MAX_PROFILE_BYTES:
        return UNUSABLE
    return profile


def _from_jpeg(upload: bytes) -> bytes | None:
    """Join a profile from its numbered segments, each of which declares their number."""
    contents: dict[int, bytes] = {}
    declared_counts = set()
    count, start = 0, len(_JPEG_INTRODUCTION)
    for segment in jpeg_segments(upload):
        if segment.name == _SOS:
            break
        if segment.name == _APP2 and upload.startswith(_JPEG_INTRODUCTION, segment.start, segment.end):
            payload = upload[segment.start + start : segment.end]
            count += 1
            if len(payload) > 2:
                contents[payload[0]] = payload[2:]
                declared_counts.add(payload[1])
    if count == 0:
        return None
    if declared_counts != {count} or set(contents) != set(range(1, count + 1)):
        return UNUSABLE
    return b"".join(contents[number] for number in sorted(contents))


def _from_png(upload: bytes) -> bytes | None:
    for chunk in png_chunks(upload):
        if chunk.name == b"IDAT":
            return None
        if chunk.name == b"iCCP":
            if not is_intact(upload, chunk):
                return UNUSABLE
            _, _, deflated = upload[chunk.start : chunk.end].partition(b"\x00")
            return _inflated(deflated[1:]) if deflated[:1] == b"\x00" else UNUSABLE
    return None


def _inflated(deflated: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(deflated, MAX_PROFILE_BYTES)
    except zlib.error:
        return UNUSABLE
    return profile if decompressor.eof else UNUSABLE


def _from_webp(upload: bytes) -> bytes | None:
    for chunk in webp_chunks(upload):
        if chunk.name == b"ICCP":
            return upload[chunk.start : chunk.end]
    return None


def _from_boxes(upload: bytes) -> bytes | None:
    boxes = read_boxes(upload)
    for box in boxes.items[boxes.main].properties:
        if box.name == b"colr" and upload[box.start : box.start + 4] in _ICC_KINDS:
            return upload[box.start + 4 : box.end]
    return None

"""Colour tags: which of a file's statements about its colours counts.

A PNG can make four, of which the first in this order counts (PNG, third edition, 4.3): cICP, iCCP, sRGB, then
gAMA and cHRM. In an AVIF or HEIC an ICC profile counts before code points, and those in boxes before those in
an AVIF's coded data. One that cannot be used yields to the next, with a warning.
"""

import struct
from dataclasses import dataclass

from app.imaging.formats import av1
from app.imaging.formats.chunks import is_intact
from app.imaging.formats.containers import png_chunks
from app.imaging.formats.encoding import UNSPECIFIED, Encoding, by_code_points, by_gamma
from app.imaging.formats.isobmff import coded_data, read_boxes
from app.imaging.formats.profile import find_profile

_COUNTING = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_MAX_BYTES = 32  # of those that are read here
_PARTS = 100_000  # of 1, in gAMA and cHRM


@dataclass(frozen=True, slots=True)
class ColourTags:
    """An ICC profile to convert by, an encoding for where there is none or it cannot be used; or neither.

    ``is_ignored`` tells that a statement that would have counted made no sense.
    """

    profile: bytes | None = None
    encoding: Encoding | None = None
    is_ignored: bool = False


def find_colours(upload: bytes, file_format: str) -> ColourTags:
    """Find what a file says of its colours."""
    if file_format == "png":
        return _of_png(upload)
    profile = find_profile(upload, file_format)
    points = _code_points(upload) if file_format in ("avif", "heic") else None
    if points is None:
        return ColourTags(profile)
    encoding = by_code_points(*points)
    return ColourTags(profile, encoding, is_ignored=profile is None and encoding is None)


def _of_png(upload: bytes) -> ColourTags:
    said: dict[bytes, bytes] = {}
    for chunk in png_chunks(upload):
        if chunk.name == b"IDAT":
            break
        if chunk.name in _COUNTING and chunk.name not in said and is_intact(upload, chunk):
            said[chunk.name] = upload[chunk.start : min(chunk.end, chunk.start + _MAX_BYTES)]
    is_ignored = False
    if b"cICP" in said:
        encoding = _by_cicp(said[b"cICP"])
        if encoding is not None:
            return ColourTags(encoding=encoding)
        is_ignored = True
    profile = find_profile(upload, "png")
    if b"sRGB" in said or not {b"gAMA", b"cHRM"} & said.keys():
        return ColourTags(profile, is_ignored=is_ignored)
    encoding = _by_gamma(said.get(b"gAMA"), said.get(b"cHRM"))
    return ColourTags(profile, encoding, is_ignored or (profile is None and encoding is None))


def _by_cicp(payload: bytes) -> Encoding | None:
    """Read a cICP chunk; its colours are RGB, so that the matrix has to be the identity."""
    if len(payload) != 4 or UNSPECIFIED in payload[:2] or payload[2] != 0 or payload[3] > 1:
        return None
    return by_code_points(payload[0], payload[1], is_full_range=payload[3] == 1)


def _by_gamma(gamma: bytes | None, chromaticities: bytes | None) -> Encoding | None:
    if (gamma is not None and len(gamma) != 4) or (chromaticities is not None and len(chromaticities) != 32):
        return None
    exponent = None if gamma is None else int.from_bytes(gamma, "big") / _PARTS
    if chromaticities is None:
        return by_gamma(exponent, None)
    white_x, white_y, *others = (number / _PARTS for number in struct.unpack(">8I", chromaticities))
    red, green, blue = zip(others[::2], others[1::2], strict=True)
    return by_gamma(exponent, (red, green, blue, (white_x, white_y)))


def _code_points(upload: bytes) -> tuple[int, int] | None:
    """Return the colour primaries and transfer characteristics of a main picture, or of its first tile."""
    boxes = read_boxes(upload)
    tiles = boxes.references.get((b"dimg", boxes.main), ())[:1]
    items = [boxes.items[number] for number in (boxes.main, *tiles) if number in boxes.items]
    for item in items:
        for part in item.properties:
            is_long_enough = part.end - part.start >= 8
            if part.name == b"colr" and is_long_enough and upload.startswith(b"nclx", part.start):
                return struct.unpack_from(">HH", upload, part.start + 4)
    coded = next((item for item in items if item.kind == b"av01"), None)
    return None if coded is None else av1.code_points(coded_data(upload, coded))

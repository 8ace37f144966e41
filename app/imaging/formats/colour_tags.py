"""Colour tags: selects, from a file's metadata about its colours, the entry that applies.

A PNG can have four, of which the first in this order applies (PNG, third edition, 4.3): cICP, iCCP, sRGB,
then gAMA and cHRM. In an AVIF or HEIC an ICC profile takes precedence over code points, and code points in
boxes over those in an AVIF's coded data. An unusable entry is skipped for the next one, with a warning.
"""

import struct
from dataclasses import dataclass

from app.imaging.formats import av1
from app.imaging.formats.chunks import is_intact
from app.imaging.formats.containers import png_chunks
from app.imaging.formats.encoding import UNSPECIFIED, Encoding, encoding_of_code_points, encoding_of_gamma
from app.imaging.formats.isobmff import coded_data, read_boxes
from app.imaging.formats.profile import find_profile

_COLOUR_CHUNKS = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_MAX_BYTES = 32  # of a chunk that is read here
_FIXED_POINT_ONE = 100_000  # in gAMA and cHRM


@dataclass(frozen=True, slots=True)
class ColourTags:
    """An ICC profile, an encoding to use without a usable profile, or neither.

    ``is_ignored`` means that an entry with precedence was unusable.
    """

    profile: bytes | None = None
    encoding: Encoding | None = None
    is_ignored: bool = False


def find_colours(upload: bytes, file_format: str) -> ColourTags:
    """Find the ICC profile and the encoding of a file's colours."""
    if file_format == "png":
        return _of_png(upload)
    profile = find_profile(upload, file_format)
    points = _code_points(upload) if file_format in ("avif", "heic") else None
    if points is None:
        return ColourTags(profile)
    encoding = encoding_of_code_points(*points)
    return ColourTags(profile, encoding, is_ignored=profile is None and encoding is None)


def _of_png(upload: bytes) -> ColourTags:
    tags: dict[bytes, bytes] = {}
    for chunk in png_chunks(upload):
        if chunk.name == b"IDAT":
            break
        if chunk.name in _COLOUR_CHUNKS and chunk.name not in tags and is_intact(upload, chunk):
            tags[chunk.name] = upload[chunk.start : min(chunk.end, chunk.start + _MAX_BYTES)]
    is_ignored = False
    if b"cICP" in tags:
        encoding = _encoding_of_cicp(tags[b"cICP"])
        if encoding is not None:
            return ColourTags(encoding=encoding)
        is_ignored = True
    profile = find_profile(upload, "png")
    if b"sRGB" in tags or not {b"gAMA", b"cHRM"} & tags.keys():
        return ColourTags(profile, is_ignored=is_ignored)
    encoding = _encoding_of_gamma_chunks(tags.get(b"gAMA"), tags.get(b"cHRM"))
    return ColourTags(profile, encoding, is_ignored or (profile is None and encoding is None))


def _encoding_of_cicp(payload: bytes) -> Encoding | None:
    """Read a cICP chunk; its colours are RGB, so its matrix must be the identity."""
    if len(payload) != 4 or UNSPECIFIED in payload[:2] or payload[2] != 0 or payload[3] > 1:
        return None
    return encoding_of_code_points(payload[0], payload[1], is_full_range=payload[3] == 1)


def _encoding_of_gamma_chunks(gamma: bytes | None, chromaticities: bytes | None) -> Encoding | None:
    if (gamma is not None and len(gamma) != 4) or (chromaticities is not None and len(chromaticities) != 32):
        return None
    exponent = None if gamma is None else int.from_bytes(gamma, "big") / _FIXED_POINT_ONE
    if chromaticities is None:
        return encoding_of_gamma(exponent, None)
    white_x, white_y, *others = (number / _FIXED_POINT_ONE for number in struct.unpack(">8I", chromaticities))
    red, green, blue = zip(others[::2], others[1::2], strict=True)
    return encoding_of_gamma(exponent, (red, green, blue, (white_x, white_y)))


def _code_points(upload: bytes) -> tuple[int, int] | None:
    """Return the colour primaries and transfer characteristics of the main picture, or of its first tile."""
    boxes = read_boxes(upload)
    tiles = boxes.references.get((b"dimg", boxes.main), ())[:1]
    items = [boxes.items[number] for number in (boxes.main, *tiles) if number in boxes.items]
    for item in items:
        for box in item.properties:
            is_long_enough = box.end - box.start >= 8
            if box.name == b"colr" and is_long_enough and upload.startswith(b"nclx", box.start):
                return struct.unpack_from(">HH", upload, box.start + 4)
    coded = next((item for item in items if item.kind == b"av01"), None)
    return None if coded is None else av1.code_points(coded_data(upload, coded))

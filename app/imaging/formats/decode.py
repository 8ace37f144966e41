"""Decode: the bytes of an upload become upright sRGB pixels.

This module chooses the library that reads an upload; a module named after the format or library does the
reading. Any exception that a library raises on broken bytes becomes ``CorruptPicture`` with our own text.
"""

from dataclasses import dataclass, replace

import numpy as np

from app.arrays import Grey, Rgb
from app.errors import CorruptPicture
from app.imaging.formats.aperture import UnusableApertureError, clean_aperture
from app.imaging.formats.bmp import check_runs
from app.imaging.formats.chunks import check_data, lacks_transparency
from app.imaging.formats.colour import srgb_levels, to_srgb
from app.imaging.formats.colour_tags import find_colours
from app.imaging.formats.encoding import Encoding
from app.imaging.formats.fast_decoders import read_webp_fast
from app.imaging.formats.heic import read_heic
from app.imaging.formats.isobmff import read_boxes
from app.imaging.formats.jpeg import read_jpeg
from app.imaging.formats.orientation import UPRIGHT, find_orientation, turn_upright
from app.imaging.formats.pillow import READER_ERRORS, read_with_pillow
from app.imaging.formats.png16 import is_png16, read_png16
from app.imaging.formats.png_text import check_texts
from app.imaging.formats.raw_picture import Colours, RawPicture
from app.imaging.formats.sniff import Header

FIRST_FRAME_ONLY = "first_frame_only"
EXIF_IGNORED = "exif_ignored"
ICC_IGNORED = "icc_ignored"
COLOURS_IGNORED = "colours_ignored"
TONE_MAPPED = "tone_mapped"
CROP_IGNORED = "crop_ignored"
TRANSPARENCY_IGNORED = "transparency_ignored"


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded upload: upright pixels, its own alpha unless it is opaque throughout, and warnings.

    ``own_alpha`` is kept in 8 bits, a quarter of what an ``AlphaMatte`` takes. ``rgb`` has the file's colours
    even where ``own_alpha`` is 0.
    """

    rgb: Rgb
    own_alpha: Grey | None
    warnings: tuple[str, ...]


def decode(upload: bytes, header: Header) -> Picture:
    """Decode the first frame of an upload to upright 8-bit sRGB.

    Palettes and greys are converted to RGB, 16-bit samples are scaled and rounded, CMYK is taken to be
    inverted as Adobe writes it. Transparency in any form becomes the picture's own alpha. An embedded ICC
    profile is applied; an unusable one is ignored with a warning.

    Args:
        upload: The bytes passed to ``sniff``.
        header: The result of ``sniff``; the caller has checked the size limits.

    Raises:
        CorruptPicture: The data is broken or cut off, or does not match the header.
        PictureTooComplex: A PNG has comments that inflate to more than any writer would put there, or a BMP
            has run lengths that take too long to read.
    """
    if not header.is_whole:
        raise CorruptPicture("The picture's file is cut off.")
    if header.format == "png":
        check_texts(upload)
        check_data(upload)
    if header.format == "bmp":
        check_runs(upload)
    orientation = find_orientation(upload, header.format)
    tags = find_colours(upload, header.format)
    encoding = tags.encoding
    levels = None
    if tags.profile is None and encoding is not None and is_png16(upload, header) and _needs_depth(encoding):
        levels, encoding = srgb_levels(encoding), encoding.with_srgb_curve()
    raw = _read(upload, header, levels)
    rgb, is_profile_ignored = to_srgb(raw.colours, tags.profile, encoding)
    is_encoding_used = tags.profile is None or is_profile_ignored
    conditions = {
        FIRST_FRAME_ONLY: header.is_animated,
        EXIF_IGNORED: orientation is None,
        ICC_IGNORED: is_profile_ignored,
        COLOURS_IGNORED: tags.is_ignored,
        TONE_MAPPED: encoding is not None and encoding.has_high_range and is_encoding_used,
        TRANSPARENCY_IGNORED: header.format == "png" and lacks_transparency(upload),
    }
    own_alpha = raw.own_alpha
    if own_alpha is not None and own_alpha.min() == 255:
        own_alpha = None
    return Picture(
        rgb=turn_upright(rgb, orientation or UPRIGHT),
        own_alpha=None if own_alpha is None else turn_upright(own_alpha, orientation or UPRIGHT),
        warnings=(*(warning for warning, holds in conditions.items() if holds), *raw.warnings),
    )


def _needs_depth(encoding: Encoding) -> bool:
    """Return whether 16-bit numbers of an encoding would lose much if rounded to 8 bits before conversion."""
    return not (encoding.has_high_range or encoding.is_curved_as_srgb)


def _read(upload: bytes, header: Header, levels: Colours | None) -> RawPicture:
    """Read the first frame as stored, with the fastest reader that decodes the file correctly."""
    try:
        if header.format == "heic":
            return read_heic(upload, header)
        if is_png16(upload, header):
            return read_png16(upload, header, levels=levels)
        if header.format == "jpeg":
            return read_jpeg(upload, header)
        if header.format == "avif":
            return _cropped(read_with_pillow(upload, header), upload)
        if header.format == "webp":
            return read_webp_fast(upload, header) or read_with_pillow(upload, header)
        return read_with_pillow(upload, header)
    except READER_ERRORS as error:
        raise CorruptPicture("The picture's data is broken or cut off.") from error


def _cropped(raw: RawPicture, upload: bytes) -> RawPicture:
    """Crop an AVIF to its clean aperture, which applies before any rotation."""
    boxes = read_boxes(upload)
    try:
        window = clean_aperture(upload, boxes.items[boxes.main])
    except UnusableApertureError:
        return replace(raw, warnings=(CROP_IGNORED,))
    if window is None:
        return raw
    own_alpha = None if raw.own_alpha is None else np.ascontiguousarray(raw.own_alpha[window])
    return replace(raw, colours=np.ascontiguousarray(raw.colours[window]), own_alpha=own_alpha)

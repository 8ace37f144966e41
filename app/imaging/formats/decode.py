"""Decode: the bytes of an upload become upright sRGB pixels.

Which library reads which upload is chosen here; how, stands in the module of its name. Whatever a library
raises on broken bytes becomes ``CorruptPicture`` with a text of ours.
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
from app.imaging.formats.fast_decoders import read_webp_by_shortcut
from app.imaging.formats.heic import read_heic
from app.imaging.formats.isobmff import read_boxes
from app.imaging.formats.jpeg import read_jpeg
from app.imaging.formats.orientation import UPRIGHT, find_orientation, turn_upright
from app.imaging.formats.pillow import READER_ERRORS, read_by_pillow
from app.imaging.formats.png16 import is_deep, read_deep
from app.imaging.formats.png_text import check_texts
from app.imaging.formats.raw_picture import Colours, Stored
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
    """An upload, decoded: upright pixels, its own alpha if any of it is not opaque, and what was odd.

    ``own_alpha`` is kept in 8 bits, a quarter of what an ``AlphaMatte`` takes. ``rgb`` is as stored even
    where ``own_alpha`` is 0.
    """

    rgb: Rgb
    own_alpha: Grey | None
    warnings: tuple[str, ...]


def decode(upload: bytes, header: Header) -> Picture:
    """Decode the first frame of an upload to upright 8-bit sRGB.

    Palettes and greys are spread to RGB, 16-bit samples are scaled and rounded, CMYK is taken to be
    inverted as Adobe writes it. Transparency in any form is kept apart as the picture's own alpha. An
    embedded ICC profile is applied; one that cannot be used is ignored with a warning.

    Args:
        upload: The bytes that ``sniff`` was given.
        header: What it said about them; the size limits have been checked.

    Raises:
        CorruptPicture: The data is broken or cut off, or is not what the header says.
        PictureTooComplex: A PNG holds comments that inflate to more than anybody would write, or a BMP run
            lengths that take long to read.
    """
    if not header.is_whole:
        raise CorruptPicture("The picture's file is cut off.")
    if header.format == "png":
        check_texts(upload)
        check_data(upload)
    if header.format == "bmp":
        check_runs(upload)
    orientation = find_orientation(upload, header.format)
    said = find_colours(upload, header.format)
    encoding = said.encoding
    levels = None
    if said.profile is None and encoding is not None and is_deep(upload, header) and _needs_depth(encoding):
        levels, encoding = srgb_levels(encoding), encoding.with_srgb_curve()
    stored = _read(upload, header, levels)
    rgb, is_profile_ignored = to_srgb(stored.colours, said.profile, encoding)
    is_encoding_used = said.profile is None or is_profile_ignored
    odd = {
        FIRST_FRAME_ONLY: header.is_animated,
        EXIF_IGNORED: orientation is None,
        ICC_IGNORED: is_profile_ignored,
        COLOURS_IGNORED: said.is_ignored,
        TONE_MAPPED: encoding is not None and encoding.has_high_range and is_encoding_used,
        TRANSPARENCY_IGNORED: header.format == "png" and lacks_transparency(upload),
    }
    own_alpha = stored.own_alpha
    if own_alpha is not None and own_alpha.min() == 255:
        own_alpha = None
    return Picture(
        rgb=turn_upright(rgb, orientation or UPRIGHT),
        own_alpha=None if own_alpha is None else turn_upright(own_alpha, orientation or UPRIGHT),
        warnings=(*(warning for warning, holds in odd.items() if holds), *stored.warnings),
    )


def _needs_depth(encoding: Encoding) -> bool:
    """Return whether 16-bit numbers of an encoding would lose much by being rounded to 8 bits as they are."""
    return not (encoding.has_high_range or encoding.is_curved_as_srgb)


def _read(upload: bytes, header: Header, levels: Colours | None) -> Stored:
    """Read the first frame as it is stored, by the fastest reader that is sure of it."""
    try:
        if header.format == "heic":
            return read_heic(upload, header)
        if is_deep(upload, header):
            return read_deep(upload, header, levels=levels)
        if header.format == "jpeg":
            return read_jpeg(upload, header)
        if header.format == "avif":
            return _cut(read_by_pillow(upload, header), upload)
        if header.format == "webp":
            return read_webp_by_shortcut(upload, header) or read_by_pillow(upload, header)
        return read_by_pillow(upload, header)
    except READER_ERRORS as error:
        raise CorruptPicture("The picture's data is broken or cut off.") from error


def _cut(stored: Stored, upload: bytes) -> Stored:
    """Cut an AVIF down to its clean aperture, which comes before any turning."""
    boxes = read_boxes(upload)
    try:
        shown = clean_aperture(upload, boxes.items[boxes.main])
    except UnusableApertureError:
        return replace(stored, warnings=(CROP_IGNORED,))
    if shown is None:
        return stored
    own_alpha = None if stored.own_alpha is None else np.ascontiguousarray(stored.own_alpha[shown])
    return replace(stored, colours=np.ascontiguousarray(stored.colours[shown]), own_alpha=own_alpha)

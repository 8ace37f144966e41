"""Masks: the file of a mask or an alpha matte becomes 8-bit grey, whatever its values and its mode.

===================  ==============================================================================
transparency         a PNG that is transparent anywhere counts by its alpha, as a cutout does
palette of colours   counts by index: 0 is background, 255 is "void" and background too (as in VOC)
grey, or RGB         0 and 255 with greys between them, or 0 and 1
===================  ==============================================================================
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_export.errors import CommandFailed

Grey = NDArray[np.uint8]
SourceFile = Path | zipfile.Path
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
VOID = 255
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, zipfile.BadZipFile),
    Image.DecompressionBombError,
)
"""What Pillow and zipfile raise for files that are damaged, or have more than about 180 million pixels."""
MAX_CLASS = 127  # a grey mask without a value above this is a label map, whose values are classes


class MaskInvalid(CommandFailed):
    """A file is not a mask; the message names it and says what to do."""


def matte_from(encoded: bytes, name: str) -> Grey:
    """Decode an alpha matte, (H, W) uint8, with any values.

    Raises:
        MaskInvalid: The file is not a picture of 8 bits.
    """
    pixels = _decode(encoded, name)
    return pixels.indices if isinstance(pixels, PaletteIndices) else pixels


def read_mask(file: SourceFile) -> Grey:
    """Read a mask, (H, W) uint8 from 0 (background) to 255.

    Raises:
        MaskInvalid: The file is not a picture of 8 bits, or is a label map of several classes.
    """
    return mask_from(file.read_bytes(), str(file))[0]


def mask_from(encoded: bytes, name: str) -> tuple[Grey, bool | None]:
    """Decode a mask.

    Returns:
        The mask, as ``read_mask`` does; and whether the file has the values 0 and 1, or None if it fits 0/255
        as well, being black or of a palette.

    Raises:
        MaskInvalid: As for ``read_mask``.
    """
    pixels = _decode(encoded, name)
    if isinstance(pixels, PaletteIndices):
        indices = pixels.indices
        return np.where((indices == 0) | (indices == VOID), np.uint8(0), np.uint8(255)), None
    brightest = int(pixels.max(initial=0))
    if brightest <= 1:
        return pixels * np.uint8(255), True if brightest else None
    if brightest <= MAX_CLASS:
        raise MaskInvalid(
            f"{name}: the largest value is {brightest}; a mask has 0 and 255, or 0 and 1. If the values are "
            "classes, name them in the recipe, or set those of the subject to 255 and all others to 0."
        )
    return pixels, False


class PaletteIndices:
    """The indices of a picture with a palette of colours, (H, W) uint8."""

    def __init__(self, indices: Grey) -> None:
        self.indices = indices


def _decode(encoded: bytes, name: str) -> Grey | PaletteIndices:
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as stored:
            stored.load()
            upright = ImageOps.exif_transpose(stored)
    except UNREADABLE as error:
        raise MaskInvalid(f"{name} cannot be read as a picture.") from error
    if upright.mode not in MODES:
        raise MaskInvalid(f"{name} is of mode {upright.mode}; a mask has 8 bits per channel. Convert it.")
    if upright.mode == "P" and not _is_grey(upright):
        return PaletteIndices(np.asarray(upright))
    if upright.has_transparency_data:
        alpha = np.asarray(upright.convert("RGBA"))[..., 3]
        if alpha.min(initial=255) < 255:
            return np.asarray(alpha)
    return np.asarray(upright.convert("L"))


def _is_grey(palette_picture: Image.Image) -> bool:
    """Return whether all colours that the picture uses are grey: then they count, not their indices."""
    colours = np.array(palette_picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = np.unique(np.asarray(palette_picture))
    if used.max(initial=0) >= len(colours):
        return False
    return bool((colours[used] == colours[used][:, :1]).all())

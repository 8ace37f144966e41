"""Masks: the file of a mask or an alpha matte becomes 8-bit grey, whatever its values and its mode.

===================  ==============================================================================
transparency         a PNG that is transparent anywhere counts by its alpha, as a cutout does
palette of colours   counts by index: 0 is background, 255 is "void" and background too (as in VOC)
grey, or RGB         0 and 255 with greys between them, or 0 and 1
===================  ==============================================================================

A mask of several classes is a label map: the index of a palette, or the value of a grey, is the class.
"""

import io
import zipfile
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
MAX_CLASS = 127  # a label map of a binary recipe: values that can be neither 0/1 nor 0/255


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
            'classes, name them in the recipe: --set \'classes=["cat", "dog"]\'.'
        )
    return pixels, False


def labels_from(encoded: bytes, name: str, classes: int) -> Grey:
    """Decode a label map, (H, W) uint8: 0 is background, and so is "void" (255).

    Args:
        encoded: A PNG with a palette, or a grey picture.
        name: For messages.
        classes: Number of classes, without the background.

    Raises:
        MaskInvalid: A value is larger than the number of classes.
    """
    pixels = _decode(encoded, name, keeps_index=True)
    indices = pixels.indices if isinstance(pixels, PaletteIndices) else pixels
    labels = np.where(indices == VOID, np.uint8(0), indices)
    if labels.max(initial=0) > classes:
        raise MaskInvalid(
            f"{name}: the label map has the class {labels.max()}; the recipe names {classes}. Add the others "
            "to `classes`."
        )
    return labels


class PaletteIndices:
    """The indices of a picture with a palette of colours, (H, W) uint8."""

    def __init__(self, indices: Grey) -> None:
        self.indices = indices


def _decode(encoded: bytes, name: str, *, keeps_index: bool = False) -> Grey | PaletteIndices:
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as stored:
            stored.load()
            upright = ImageOps.exif_transpose(stored)
    except OSError as error:
        raise MaskInvalid(f"{name} cannot be read as a picture.") from error
    if upright.mode not in MODES:
        raise MaskInvalid(f"{name} is of mode {upright.mode}; a mask has 8 bits per channel. Convert it.")
    if upright.mode == "P" and (keeps_index or not _is_grey(upright)):
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

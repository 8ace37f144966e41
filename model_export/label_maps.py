"""Label maps: the file of a label map becomes the label of each pixel, (H, W) uint8.

===========  =======================================================
palette      the label is the index, whatever the colours
grey         the label is the value
===========  =======================================================

The label is the position of a class in the recipe, from 0. 255 is void, as in PASCAL VOC: such pixels are
neither learned nor judged.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_export.datasets import resize_to_square
from model_export.masks import MaskInvalid

Labels = NDArray[np.uint8]
FORMATS = ("PNG", "BMP", "GIF", "TIFF")  # those that keep every value
MODES = ("1", "L", "P")
VOID = 255
EMPTY, FULL = np.uint8(0), np.uint8(255)


def labels_from(encoded: bytes, name: str, *, count: int) -> Labels:
    """Decode a label map, upright.

    Args:
        encoded: The file.
        name: Its name, for messages.
        count: The number of classes.

    Returns:
        (H, W) uint8: 0 to ``count`` - 1, or 255, which is void.

    Raises:
        MaskInvalid: The file is not a label map, or has a label that no class has.
    """
    try:
        # Files of the operator, in the formats listed.
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as stored:  # noqa: TID251
            stored.load()
            upright = ImageOps.exif_transpose(stored)
    except OSError as error:
        raise MaskInvalid(
            f"{name} cannot be read as PNG, BMP, GIF or TIFF. Store label maps as PNG: formats like JPEG "
            "change the labels."
        ) from error
    if upright.mode not in MODES:
        raise MaskInvalid(
            f"{name} is of mode {upright.mode}; a label map is grey or has a palette, of 8 bits: the label "
            "of a pixel is its value or its index. Convert it."
        )
    labels: Labels = np.asarray(upright).astype(np.uint8)
    highest = int(labels[labels != VOID].max(initial=0))
    if highest >= count:
        raise MaskInvalid(
            f"{name} has the label {highest}; the recipe has {count} classes, with the labels 0 to "
            f"{count - 1} (255 is ignored). Name all classes in the recipe, in the order of their labels."
        )
    return labels


def resize_labels(labels: Labels, size_px: int) -> Labels:
    """Resize to a square: a pixel of the result has the label with the largest share of its area.

    Each label is resized as a mask is, so two classes give the same as a mask.
    """
    present = np.unique(labels)
    shares = [resize_to_square(np.where(labels == label, FULL, EMPTY), size_px) for label in present]
    return np.asarray(present[np.stack(shares).argmax(axis=0)])

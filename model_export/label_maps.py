"""Label maps: the file of a label map, or annotations, become the label of each pixel, (H, W) uint8.

===========  ==================================================================
palette      the label is the index, whatever the colours
grey         the label is the value
annotations  the label is that of the class with the region's name, and 0
             where there is no region; crowds are void, and so is what labelme
             calls ``__ignore__``
===========  ==================================================================

The label is the position of a class in the recipe, from 0. 255 is void, as in PASCAL VOC: such pixels are
neither learned nor judged.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_export.annotations import Annotation, Region
from model_export.datasets import resize_to_square
from model_export.masks import UNREADABLE, MaskInvalid

Labels = NDArray[np.uint8]
Unknown = Literal["refuse", "background", "void"]
"""What regions are whose name no class has: an error, left out, or void."""
FORMATS = ("PNG", "BMP", "GIF", "TIFF")  # those that keep every value
MODES = ("1", "L", "P")
VOID = 255
IGNORED = "__ignore__"  # labelme's name of regions that are void
EMPTY, FULL = np.uint8(0), np.uint8(255)
MAX_LISTED = 10


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
    except UNREADABLE as error:
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


def labels_of(annotation: Annotation, classes: Sequence[str], *, unknown: Unknown) -> Labels:
    """Draw the label map of annotations.

    Args:
        annotation: Of one picture.
        classes: Their names, in the order of their labels.
        unknown: What regions of other names are.

    Returns:
        (H, W) uint8: the positions of classes, or 255, which is void.

    Raises:
        MaskInvalid: A region has another name, and ``unknown`` is ``refuse``.
    """
    require_known([annotation], classes, unknown=unknown)
    labels = np.zeros((annotation.height, annotation.width), np.uint8)
    for region in annotation.regions:
        label = _label_of(region, classes, unknown)
        if label is not None:
            region.draw(labels, label)
    return labels


def require_known(annotations: Iterable[Annotation], classes: Sequence[str], *, unknown: Unknown) -> str:
    """Check that every region has the name of a class if others are refused, and return the other names.

    Raises:
        MaskInvalid: One does not; the message lists the names with the numbers of their regions.
    """
    others = _other_names(annotations, classes)
    if others and unknown == "refuse":
        raise MaskInvalid(
            f"The annotations have names that are no classes of the recipe: {others}. The classes are: "
            f"{', '.join(classes)}. Add the missing ones, or leave such regions out (background), or neither "
            "learn nor judge their pixels (void): train --set unknown_classes=background, or evaluate "
            "--unknown-classes background"
        )
    return others


def _other_names(annotations: Iterable[Annotation], classes: Sequence[str]) -> str:
    """Return the names that no class has, the most frequent first, such as ``cat (3), dog (1)``."""
    regions = (region for annotation in annotations for region in annotation.regions)
    counts = Counter(region.name for region in regions if region.name not in (*classes, IGNORED))
    listed = ", ".join(f"{name or 'no name'} ({count})" for name, count in counts.most_common(MAX_LISTED))
    return listed + (", …" if len(counts) > MAX_LISTED else "")


def _label_of(region: Region, classes: Sequence[str], unknown: Unknown) -> int | None:
    """Return what is written into the pixels of a region; None if it is left out."""
    if region.name == IGNORED:
        return VOID
    if region.name not in classes:
        return VOID if unknown == "void" else None
    return VOID if region.is_crowd else classes.index(region.name)


def resize_labels(labels: Labels, size_px: int) -> Labels:
    """Resize to a square: a pixel of the result has the label with the largest share of its area.

    Each label is resized as a mask is, so two classes give the same as a mask.
    """
    present = np.unique(labels)
    shares = [resize_to_square(np.where(labels == label, FULL, EMPTY), size_px) for label in present]
    return np.asarray(present[np.stack(shares).argmax(axis=0)])

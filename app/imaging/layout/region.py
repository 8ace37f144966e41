"""Region: takes the requested region out of a picture, at the requested size."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from app.arrays import Grey, SaliencyMap
from app.errors import MaskDoesNotFit
from app.imaging.formats.decode import Picture
from app.imaging.layout.arrange import opaque, resize_cutout
from app.imaging.layout.compose import hide_in_white
from app.imaging.layout.placement import Corners, Rectangle, region_of, shrunk_size
from app.imaging.matting.saliency import resize_saliency
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of (height, width) of which only ``region`` is segmented; the rest counts as background."""

    height: int
    width: int
    region: Rectangle

    @property
    def is_whole(self) -> bool:
        """Whether the region is the whole picture."""
        return (self.region.height, self.region.width) == (self.height, self.width)


def frame_picture(picture: Picture, *, max_px: int | None, corners: Corners | None) -> tuple[Picture, Frame]:
    """Shrink a picture to at most ``max_px`` pixels, and crop it to the region between ``corners``.

    Pixels in ``corners`` are those of the picture before it is shrunk.

    Raises:
        RegionOutsidePicture: The region reaches beyond the picture.
        RegionIsEmpty: The region contains no pixel.
    """
    height, width = picture.rgb.shape[:2]
    region = Rectangle(0, 0, width, height) if corners is None else region_of(corners, height, width)
    new_height, new_width = (height, width) if max_px is None else shrunk_size(height, width, max_px)
    if (new_height, new_width) != (height, width):
        picture = _shrunk(picture, new_height, new_width)
        region = _scaled(region, (height, width), (new_height, new_width))
    frame = Frame(new_height, new_width, region)
    if frame.is_whole:
        return picture, frame
    window = slice(region.top, region.bottom), slice(region.left, region.right)
    own_alpha = None if picture.own_alpha is None else np.ascontiguousarray(picture.own_alpha[window])
    return replace(picture, rgb=np.ascontiguousarray(picture.rgb[window]), own_alpha=own_alpha), frame


def saliency_from_mask(mask: Picture, picture: Picture, *, check: Check = no_check) -> SaliencyMap:
    """Convert a client's own mask or trimap to a saliency map: its brightness times its own alpha.

    The mask may be smaller or larger than the picture, but must have its shape to within a pixel. A larger
    one is averaged down to the picture's size, since more detail would not show.

    Raises:
        MaskDoesNotFit: The mask has another shape.
    """
    height, width = picture.rgb.shape[:2]
    mask_height, mask_width = mask.rgb.shape[:2]
    _check_shape(mask, picture, name="mask")
    saliency = np.empty((mask_height, mask_width), np.float32)
    for strip in strips_of(mask_height, mask_width):
        check()
        grey = np.asarray(cv2.cvtColor(mask.rgb[strip], cv2.COLOR_RGB2GRAY), np.float32)
        np.divide(grey, np.float32(255), out=saliency[strip])
        if mask.own_alpha is not None:
            saliency[strip] *= mask.own_alpha[strip].astype(np.float32) / np.float32(255)
    if mask_height * mask_width <= height * width:
        return saliency
    return resize_saliency(saliency, min(height, mask_height), min(width, mask_width))


def brightness_of(strokes: Picture, picture: Picture, *, name: str) -> Grey:
    """Convert a picture of strokes to its brightness times its own alpha, at its own size.

    Raises:
        MaskDoesNotFit: It has another shape than the picture; the message names it by ``name``.
    """
    _check_shape(strokes, picture, name=name)
    grey = cv2.cvtColor(strokes.rgb, cv2.COLOR_RGB2GRAY)
    if strokes.own_alpha is not None:
        grey = cv2.multiply(grey, strokes.own_alpha, scale=1 / 255)
    return np.asarray(grey, np.uint8)


def _check_shape(mask: Picture, picture: Picture, *, name: str) -> None:
    height, width = picture.rgb.shape[:2]
    mask_height, mask_width = mask.rgb.shape[:2]
    if abs(mask_width * height / width - mask_height) > 1 + mask_height / height:
        raise MaskDoesNotFit((mask_height, mask_width), (height, width), name=name)


def _shrunk(picture: Picture, height: int, width: int) -> Picture:
    """Average a picture down; colours are weighted by its own alpha."""
    rgb, own_alpha = picture.rgb, picture.own_alpha
    if own_alpha is None:
        smaller = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        return replace(picture, rgb=np.asarray(smaller, np.uint8))
    rgba = resize_cutout(np.dstack((rgb, own_alpha)), height, width)
    rgb, own_alpha = opaque(rgba), np.ascontiguousarray(rgba[:, :, 3])
    hide_in_white(rgb, own_alpha)
    return replace(picture, rgb=rgb, own_alpha=own_alpha)


def _scaled(region: Rectangle, old: tuple[int, int], new: tuple[int, int]) -> Rectangle:
    """Scale a region to another size of its picture; it keeps at least a pixel on each axis."""
    left, right = (min(round(x * new[1] / old[1]), new[1]) for x in (region.left, region.right))
    top, bottom = (min(round(y * new[0] / old[0]), new[0]) for y in (region.top, region.bottom))
    left, top = min(left, new[1] - 1), min(top, new[0] - 1)
    return Rectangle(left, top, max(right, left + 1), max(bottom, top + 1))

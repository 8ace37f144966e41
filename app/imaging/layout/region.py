"""Frame: the part of a picture that is looked at, at the size that is wanted, and what it is a part of."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from app.arrays import SaliencyMap
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
    """A picture of (height, width) of which ``region`` is looked at; the rest counts as background."""

    height: int
    width: int
    region: Rectangle

    @property
    def is_whole(self) -> bool:
        """Whether all of the picture is looked at."""
        return (self.region.height, self.region.width) == (self.height, self.width)


def frame_picture(picture: Picture, *, max_px: int | None, corners: Corners | None) -> tuple[Picture, Frame]:
    """Shrink a picture to at most ``max_px`` pixels, and take the region out of it that ``corners`` name.

    Pixels in ``corners`` are those of the picture as it came.

    Raises:
        RegionOutsidePicture: The region reaches beyond the picture.
        RegionIsEmpty: It holds no pixel.
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
    part = slice(region.top, region.bottom), slice(region.left, region.right)
    own_alpha = None if picture.own_alpha is None else np.ascontiguousarray(picture.own_alpha[part])
    return replace(picture, rgb=np.ascontiguousarray(picture.rgb[part]), own_alpha=own_alpha), frame


def saliency_from_mask(sent: Picture, picture: Picture, *, check: Check = no_check) -> SaliencyMap:
    """Take a caller's own mask or trimap for a saliency map: its brightness, where it is not transparent.

    It may be smaller or larger than the picture, but has its shape to within a pixel. One that is larger is
    averaged down to the picture's size: more of it would show nowhere.

    Raises:
        MaskDoesNotFit: It has another shape.
    """
    height, width = picture.rgb.shape[:2]
    own_height, own_width = sent.rgb.shape[:2]
    if abs(own_width * height / width - own_height) > 1 + own_height / height:
        raise MaskDoesNotFit((own_height, own_width), (height, width))
    saliency = np.empty((own_height, own_width), np.float32)
    for strip in strips_of(own_height, own_width):
        check()
        grey = np.asarray(cv2.cvtColor(sent.rgb[strip], cv2.COLOR_RGB2GRAY), np.float32)
        np.divide(grey, np.float32(255), out=saliency[strip])
        if sent.own_alpha is not None:
            saliency[strip] *= sent.own_alpha[strip].astype(np.float32) / np.float32(255)
    if own_height * own_width <= height * width:
        return saliency
    return resize_saliency(saliency, min(height, own_height), min(width, own_width))


def _shrunk(picture: Picture, height: int, width: int) -> Picture:
    """Average a picture down; colours count as much as they show."""
    rgb, own_alpha = picture.rgb, picture.own_alpha
    if own_alpha is None:
        smaller = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        return replace(picture, rgb=np.asarray(smaller, np.uint8))
    rgba = resize_cutout(np.dstack((rgb, own_alpha)), height, width)
    rgb, own_alpha = opaque(rgba), np.ascontiguousarray(rgba[:, :, 3])
    hide_in_white(rgb, own_alpha)
    return replace(picture, rgb=rgb, own_alpha=own_alpha)


def _scaled(region: Rectangle, old: tuple[int, int], new: tuple[int, int]) -> Rectangle:
    """Carry a region over to another size; it keeps at least a pixel."""
    left, right = (min(round(x * new[1] / old[1]), new[1]) for x in (region.left, region.right))
    top, bottom = (min(round(y * new[0] / old[0]), new[0]) for y in (region.top, region.bottom))
    left, top = min(left, new[1] - 1), min(top, new[0] - 1)
    return Rectangle(left, top, max(right, left + 1), max(bottom, top + 1))

"""Refine: a second run of the network, on the subject alone, sharpens the edges of the first map.

Strategy: a network takes every picture at its own few hundred pixels, so a small subject gets few of them.
Its surroundings are cropped and segmented again, larger. As a whole the second map is not better than the
first, since it lacks context; so it is used only if both have the same subject, it replaces the first map in
the soft band alone, and its weight falls to zero towards the crop's borders, so that no seam shows. The
blended map has the resolution of the second.
"""

import cv2
import numpy as np

from app.arrays import NetworkInput, Rgb, SaliencyMap
from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.verdict import judge
from app.imaging.prepare import prepare

MAX_SIDE_PX = 960
"""Maximum side of a blended map: three times the network's own; finer edges are left to the matting."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""

_MARGIN = 0.12  # of the subject's box, on each side
_MAX_CROP_AREA = 0.6  # as a fraction of the picture's; a larger crop gains little and may lose much
_SOFT_FROM, _SOFT_TO = 0.05, 0.95
_REACH = 9 / 320  # how far beyond the soft band the second map is used, as a fraction of the map's side
_FADE = 0.06  # width of the band along the crop's borders where its weight falls, as a fraction of its sides


def choose_crop(saliency: SaliencyMap, height: int, width: int) -> Box | None:
    """Return the box of the subject's surroundings, ``None`` if it is most of the picture or there is none.

    Args:
        saliency: Stretched map in [0, 1].
        height: Of the picture, in pixels; the box is in its coordinates.
        width: Likewise.
    """
    box = judge(saliency, height, width).box
    if box is None:
        return None
    left, top, right, bottom = box
    across, down = round(_MARGIN * (right - left)), round(_MARGIN * (bottom - top))
    crop = max(0, left - across), max(0, top - down), min(width, right + across), min(height, bottom + down)
    area = (crop[2] - crop[0]) * (crop[3] - crop[1])
    return crop if area < _MAX_CROP_AREA * height * width else None


def prepare_crop(rgb: Rgb, box: Box, size_px: int) -> NetworkInput:
    """Return the network's input for a crop of a picture."""
    left, top, right, bottom = box
    return prepare(np.ascontiguousarray(rgb[top:bottom, left:right]), size_px)


def map_of_part(
    saliency: SaliencyMap, box: Box, height: int, width: int, size: tuple[int, int]
) -> SaliencyMap:
    """Interpolate a picture's map in a box, to the size (rows, columns) of the box's own map."""
    left, top, right, bottom = box
    rows, columns = size
    down, across = (bottom - top) / rows, (right - left) / columns  # picture's pixels in one of the map
    scale_y, scale_x = saliency.shape[0] / height, saliency.shape[1] / width
    place = np.array(
        [
            [across * scale_x, 0, (left + across / 2) * scale_x - 0.5],
            [0, down * scale_y, (top + down / 2) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(saliency, place, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(part, np.float32)


def blend_maps(first: SaliencyMap, second: SaliencyMap, box: Box, height: int, width: int) -> SaliencyMap:
    """Replace the first map by the second, which covers ``box`` alone, in the first one's soft band.

    Args:
        first: Stretched map of the whole picture, (h, w) in [0, 1].
        second: Stretched map of the box, likewise.
        box: In coordinates of the picture.
        height: Of the picture, in pixels.
        width: Likewise.

    Returns:
        (h', w') float32 in [0, 1], at the second map's resolution but at most ``MAX_SIDE_PX`` a side. Equal
        to the enlarged first map away from the soft band, outside the box, and at the box's borders.
    """
    left, top, right, bottom = box
    rows = min(MAX_SIDE_PX, round(second.shape[0] * height / (bottom - top)))
    columns = min(MAX_SIDE_PX, round(second.shape[1] * width / (right - left)))
    blended = resize_saliency(first, rows, columns)
    across = slice(left * columns // width, max(left * columns // width + 1, right * columns // width))
    down = slice(top * rows // height, max(top * rows // height + 1, bottom * rows // height))
    part = blended[down, across]
    weight = _weight(blended, max(rows, columns))[down, across] * _fading(*part.shape)
    part += weight * (resize_saliency(second, *part.shape) - part)
    return blended


def _weight(saliency: SaliencyMap, side_px: int) -> SaliencyMap:
    """Return 1 in the soft band, falling to 0 within ``_REACH`` of it."""
    is_soft = ((saliency >= _SOFT_FROM) & (saliency <= _SOFT_TO)).astype(np.uint8)
    distance = cv2.distanceTransform(1 - is_soft, cv2.DIST_L2, 3)
    weight = np.clip(1 - distance / np.float32(_REACH * side_px), 0, 1)
    return np.asarray(weight, dtype=np.float32)


def _fading(rows: int, columns: int) -> SaliencyMap:
    """Return 0 along a crop's borders, rising to 1 at ``_FADE`` of its sides inwards."""
    down, across = (
        np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / max(1.0, _FADE * side), 0, 1)
        for side in (rows, columns)
    )
    return np.minimum(down[:, None], across[None, :]).astype(np.float32)

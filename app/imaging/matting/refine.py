"""Refine: a second look of the network at the subject alone sharpens the first one's edges.

Strategy: a network sees every picture at its own few hundred pixels, so a small subject gets few of them. Its
surroundings are cut out and seen again, larger. What the second map says of the whole is not better than the
first, for it lacks the context; so it is taken over in the soft band alone, and fades out towards the borders
of the cut, where there is no seam then. The blended map has as many pixels as the second look gave.
"""

import cv2
import numpy as np

from app.arrays import NetworkInput, Rgb, SaliencyMap
from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.verdict import judge
from app.imaging.prepare import prepare

MAX_SIDE_PX = 960
"""Of a blended map: three times the network's own size; finer edges are the matting's business."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""

_MARGIN = 0.12  # of the subject's box, on each side
_WORTH_BELOW = 0.7  # part of the picture that the cut may be
_SOFT_FROM, _SOFT_TO = 0.05, 0.95
_REACH = 9 / 320  # how far beyond the soft band the second look is taken over, in parts of the map
_FADE = 0.06  # of the cut's sides, within which it fades out


def choose_crop(saliency: SaliencyMap, height: int, width: int) -> Box | None:
    """Return the subject's surroundings, ``None`` if they are most of the picture or nothing shows.

    Args:
        saliency: Stretched map in [0, 1].
        height: Of the picture, in pixels; the box is in its frame.
        width: Likewise.
    """
    box = judge(saliency, height, width).box
    if box is None:
        return None
    left, top, right, bottom = box
    across, down = round(_MARGIN * (right - left)), round(_MARGIN * (bottom - top))
    wider = max(0, left - across), max(0, top - down), min(width, right + across), min(height, bottom + down)
    area = (wider[2] - wider[0]) * (wider[3] - wider[1])
    return wider if area < _WORTH_BELOW * height * width else None


def prepare_crop(rgb: Rgb, box: Box, size_px: int) -> NetworkInput:
    """Return what the network takes of a part of a picture."""
    left, top, right, bottom = box
    return prepare(np.ascontiguousarray(rgb[top:bottom, left:right]), size_px)


def blend_maps(first: SaliencyMap, second: SaliencyMap, box: Box, height: int, width: int) -> SaliencyMap:
    """Take over a second look at ``box`` in the soft band of the first look at the whole.

    Args:
        first: Stretched map of the whole picture, (h, w) in [0, 1].
        second: Stretched map of the box, likewise.
        box: In the frame of the picture.
        height: Of the picture, in pixels.
        width: Likewise.

    Returns:
        (h', w') float32 in [0, 1], of the second map's resolution but at most ``MAX_SIDE_PX`` a side. Equal
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
    """Return 0 along the borders of a cut, 1 from ``_FADE`` of its sides inwards."""
    down, across = (
        np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / max(1.0, _FADE * side), 0, 1)
        for side in (rows, columns)
    )
    return np.minimum(down[:, None], across[None, :]).astype(np.float32)

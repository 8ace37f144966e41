"""Arrange: a cutout is laid out on its canvas, with a shadow and over whatever is to be behind it.

Colours are mixed in sRGB, as browsers do it, and every result has straight alpha.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Cutout, Grey, Rgb
from app.imaging.layout import Placement, Rectangle

SUBJECT_FROM = 8
"""Alpha from which a pixel belongs to the subject's box: residue of a few steps would spoil a crop."""
_SHADOW_BLUR, _SHADOW_DROP = 0.025, 0.03
"""Of the subject's height: how soft a shadow is, and how far down it falls."""
_BACKDROP_BLUR = 0.03
"""Of the picture's longer side."""


def subject_box(alpha: Grey) -> Rectangle | None:
    """Return the box around all that has an alpha of ``SUBJECT_FROM`` or more, ``None`` where nothing has."""
    shows = alpha >= SUBJECT_FROM
    rows, columns = np.flatnonzero(shows.any(axis=1)), np.flatnonzero(shows.any(axis=0))
    if rows.size == 0:
        return None
    return Rectangle(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def arrange(cutout: Cutout, placement: Placement) -> Cutout:
    """Move and scale a part of a cutout to where it belongs; all around it is transparent.

    Scaling weighs colours by alpha, so that none bleeds in from what does not show.
    """
    source, target = placement.source, placement.target
    part = cutout[source.top : source.bottom, source.left : source.right]
    if (placement.height, placement.width) == cutout.shape[:2] == part.shape[:2]:
        return cutout
    if (target.height, target.width) != part.shape[:2]:
        part = resize_cutout(part, target.height, target.width)
    canvas = np.zeros((placement.height, placement.width, 4), np.uint8)
    canvas[target.top : target.bottom, target.left : target.right] = part
    return canvas


def resize_cutout(cutout: Cutout, height: int, width: int) -> Cutout:
    """Scale a straight-alpha picture; colours are averaged as much as they show. Rounds to nearest."""
    shrinks = height * width < cutout.shape[0] * cutout.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    alpha = cutout[:, :, 3:].astype(np.float32) / 255
    weighed = np.concatenate([cutout[:, :, :3] * alpha, alpha], axis=2)
    scaled = np.asarray(cv2.resize(weighed, (width, height), interpolation=how), np.float32)
    opacity = np.clip(scaled[:, :, 3:], 0, 1)
    colours = np.divide(scaled[:, :, :3], opacity, out=np.zeros_like(scaled[:, :, :3]), where=opacity > 0)
    result = np.concatenate([colours, opacity * 255], axis=2)
    rounded: Cutout = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    rounded[rounded[:, :, 3] == 0] = 0
    return rounded


def lay_over(cutout: Cutout, behind: NDArray[np.uint8]) -> Cutout:
    """Lay a cutout over a picture of the same size, or over one colour.

    Args:
        cutout: Straight alpha.
        behind: (H, W, 4) or (4,) with straight alpha, or (H, W, 3) or (3,) opaque.

    Returns:
        Straight alpha: ``a = f + b (1 - f)``, and colours ``(F f + B b (1 - f)) / a``, rounded to nearest.
    """
    result = np.empty_like(cutout)
    rows = max(1, 262_144 // cutout.shape[1])
    for top in range(0, cutout.shape[0], rows):
        strip = cutout[top : top + rows].astype(np.float32)
        below = (behind if behind.ndim == 1 else behind[top : top + rows]).astype(np.float32)
        front = strip[:, :, 3:] / 255
        back = (below[..., 3:] / 255 if below.shape[-1] == 4 else 1.0) * (1 - front)
        alpha = front + back
        mixed = strip[:, :, :3] * front + below[..., :3] * back
        colours = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
        piece = np.concatenate([colours, alpha * 255], axis=2)
        result[top : top + rows] = np.clip(np.rint(piece), 0, 255).astype(np.uint8)
    result[result[:, :, 3] == 0] = 0
    return result


def drop_shadow(cutout: Cutout, box: Rectangle, *, opacity: float) -> Cutout:
    """Put a soft black shadow beneath a subject, a little further down; ``box`` is the subject's."""
    blur, drop = _SHADOW_BLUR * box.height, round(_SHADOW_DROP * box.height)
    fallen = np.zeros_like(cutout[:, :, 3])
    fallen[drop:] = cutout[: cutout.shape[0] - drop, :, 3]
    soft = np.asarray(cv2.GaussianBlur(fallen, (0, 0), max(0.5, blur)), np.float32)
    shadow = np.zeros_like(cutout)
    shadow[:, :, 3] = np.rint(soft * opacity).astype(np.uint8)
    return lay_over(cutout, shadow)


def cover(picture: Rgb, height: int, width: int) -> Rgb:
    """Scale a picture so that it covers a canvas, and cut off what is beyond, the same at both sides."""
    own_height, own_width = picture.shape[:2]
    if (own_height, own_width) == (height, width):
        return picture
    grown = max(height / own_height, width / own_width)
    new_height, new_width = max(height, round(own_height * grown)), max(width, round(own_width * grown))
    how = cv2.INTER_AREA if grown < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(picture, (new_width, new_height), interpolation=how), np.uint8)
    top, left = (new_height - height) // 2, (new_width - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def blur_backdrop(picture: Rgb) -> Rgb:
    """Blur a picture until it is no more than a mood; at a quarter of its size, which nobody sees."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), max(0.5, _BACKDROP_BLUR * max(height, width) / 4))
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def opaque(cutout: Cutout) -> Rgb:
    """Return the colours of a cutout all of which is opaque."""
    return np.ascontiguousarray(cutout[:, :, :3])


def is_opaque(cutout: Cutout) -> bool:
    """Tell whether nothing shines through."""
    alpha: Grey = cutout[:, :, 3]
    return bool(alpha.min() == 255)

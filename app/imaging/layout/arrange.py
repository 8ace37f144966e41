"""Arrange: lays a cutout out on its canvas, with a shadow and over a background.

Colours are mixed in sRGB, as in browsers, and every result has straight alpha.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Cutout, Grey, Rgb
from app.imaging.layout.blur import blur
from app.imaging.layout.placement import Placement, Rectangle
from app.imaging.progress import Check, no_check
from app.imaging.resample import SHARING_ROWS, enlarged_rows, rows_for, scaled_rows, strips_of

BOX_ALPHA_THRESHOLD = 8
"""Minimum alpha of a pixel in the subject's box: residue of a few levels would spoil a crop."""
_SHADOW_BLUR, _SHADOW_DROP = 0.025, 0.03
"""A shadow's blur and its offset downwards, as fractions of the subject's height."""
_BACKDROP_BLUR = 0.03
"""As a fraction of the picture's longer side."""

_Float = NDArray[np.float32]


def subject_box(alpha: Grey) -> Rectangle | None:
    """Return the box of the pixels with an alpha of ``BOX_ALPHA_THRESHOLD`` or more, ``None`` without any."""
    mask = alpha >= BOX_ALPHA_THRESHOLD
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return Rectangle(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def arrange(cutout: Cutout, placement: Placement, *, check: Check = no_check) -> Cutout:
    """Crop a cutout, and scale and place the crop on a transparent canvas.

    Scaling weights colours by alpha, so that none bleed in from transparent pixels.
    """
    source, target = placement.source, placement.target
    cropped = cutout[source.top : source.bottom, source.left : source.right]
    if (placement.height, placement.width) == cutout.shape[:2] == cropped.shape[:2]:
        return cutout
    canvas = np.zeros((placement.height, placement.width, 4), np.uint8)
    view = canvas[target.top : target.bottom, target.left : target.right]
    if view.shape == cropped.shape:
        view[:] = cropped
    else:
        _resize_into(view, cropped, check)
    return canvas


def resize_cutout(cutout: Cutout, height: int, width: int, *, check: Check = no_check) -> Cutout:
    """Scale a straight-alpha picture; colours are weighted by alpha. Rounds to nearest."""
    resized = np.empty((height, width, 4), np.uint8)
    _resize_into(resized, cutout, check)
    return resized


def _resize_into(resized: Cutout, cutout: Cutout, check: Check) -> None:
    """Scale a straight-alpha picture to the size of ``resized`` and write it there, strip by strip."""
    new_rows, width = resized.shape[:2]
    old_rows = cutout.shape[0]
    row_values = 4 * max(width, cutout.shape[1] * -(-old_rows // new_rows))
    for new in strips_of(new_rows, row_values, min_rows=SHARING_ROWS):
        check()
        old = rows_for(new, old_rows=old_rows, new_rows=new_rows)
        premultiplied = _premultiplied(cutout[old])
        scaled = scaled_rows(premultiplied, new, old=old, old_rows=old_rows, new_rows=new_rows, width=width)
        resized[new] = _straight(scaled)


def _premultiplied(strip: Cutout) -> _Float:
    """Return colours multiplied by alpha, and alpha in [0, 1]."""
    alpha = _to_float(strip[:, :, 3])
    planes = [np.asarray(strip[:, :, channel] * alpha, np.float32) for channel in range(3)]
    return np.asarray(cv2.merge([*planes, alpha]), np.float32)


def _straight(premultiplied: _Float) -> Cutout:
    """Divide colours by alpha, and round."""
    *colours, alpha = (np.asarray(plane, np.float32) for plane in cv2.split(premultiplied))
    np.clip(alpha, 0, 1, out=alpha)
    return _rounded(colours, alpha)


def _rounded(premultiplied: list[_Float], alpha: _Float) -> Cutout:
    """Divide premultiplied colours, in place, by an alpha in [0, 1], and round; 0 where alpha rounds to 0."""
    is_visible = alpha > 0
    for colour in premultiplied:
        np.divide(colour, alpha, out=colour, where=is_visible)
        np.minimum(colour, 255, out=colour)
    planes = [np.rint(plane).astype(np.uint8) for plane in (*premultiplied, alpha * np.float32(255))]
    rounded: Cutout = np.asarray(cv2.merge(planes), np.uint8)
    rounded.view(np.uint32)[:, :, 0] *= planes[3] > 0
    return rounded


def _to_float(alpha: NDArray[np.uint8]) -> _Float:
    return np.asarray(alpha / np.float32(255), np.float32)


def lay_over(cutout: Cutout, behind: NDArray[np.uint8], *, check: Check = no_check) -> Cutout:
    """Lay a cutout over a picture of the same size, or over one colour.

    Args:
        cutout: Straight alpha.
        behind: (H, W, 4) or (4,) with straight alpha, or (H, W, 3) or (3,) opaque.
        check: Called for each strip.

    Returns:
        Straight alpha: ``a = f + b (1 - f)``, and colours ``(F f + B b (1 - f)) / a``, rounded to nearest.
    """
    result = np.empty_like(cutout)
    for strip in strips_of(cutout.shape[0], 4 * cutout.shape[1]):
        check()
        result[strip] = _over(cutout[strip], behind if behind.ndim == 1 else behind[strip])
    return result


def _over(cutout: Cutout, behind: NDArray[np.uint8]) -> Cutout:
    """Lay a strip over another one, or over one colour."""
    front = _to_float(cutout[:, :, 3])
    back = np.float32(1) - front
    if behind.shape[-1] == 4:
        back *= _to_float(behind[..., 3])
    mixed = [np.asarray(cutout[:, :, channel] * front, np.float32) for channel in range(3)]
    for channel, colour in enumerate(mixed):
        colour += behind[..., channel] * back
    return _rounded(mixed, front + back)


def drop_shadow(cutout: Cutout, box: Rectangle, *, opacity: float, check: Check = no_check) -> Cutout:
    """Put a soft black shadow behind a subject, a little further down; ``box`` is the subject's."""
    drop = round(_SHADOW_DROP * box.height)
    shifted = np.zeros_like(cutout[:, :, 3])
    shifted[drop:] = cutout[: cutout.shape[0] - drop, :, 3]
    soft = blur(shifted, max(0.5, _SHADOW_BLUR * box.height), check=check)
    del shifted
    result = np.empty_like(cutout)
    for strip in strips_of(cutout.shape[0], 4 * cutout.shape[1]):
        check()
        shadow = np.zeros_like(cutout[strip])
        shadow[:, :, 3] = np.rint(soft[strip] * np.float32(opacity))
        result[strip] = _over(cutout[strip], shadow)
    return result


def cover(picture: Rgb, height: int, width: int, *, check: Check = no_check) -> Rgb:
    """Scale a picture so that it covers a canvas, and crop it to the canvas, equally on both sides.

    Only the visible part of an enlarged picture is ever computed.
    """
    own_height, own_width = picture.shape[:2]
    if (own_height, own_width) == (height, width):
        return picture
    factor = max(height / own_height, width / own_width)
    new_height, new_width = max(height, round(own_height * factor)), max(width, round(own_width * factor))
    top, left = (new_height - height) // 2, (new_width - width) // 2
    if factor < 1:
        check()
        scaled = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(scaled[top : top + height, left : left + width], np.uint8)
    if new_width == width:
        return enlarged_rows(picture, new_height, slice(top, top + height), width=width, check=check)
    columns = slice(left, left + width)
    return _transposed(enlarged_rows(_transposed(picture), new_width, columns, width=height, check=check))


def cover_see_through(premultiplied: Cutout, height: int, width: int, *, check: Check = no_check) -> Cutout:
    """Cover a canvas like ``cover``, with a picture that has an alpha channel.

    Args:
        premultiplied: (h, w, 4), colours multiplied by alpha, so that no hidden colour bleeds into others.
        height: Of the canvas, in pixels.
        width: Likewise.
        check: Called for each strip.

    Returns:
        (height, width, 4) with straight alpha, colours 0 where it is 0.
    """
    covered = cover(premultiplied, height, width, check=check)
    straight = np.empty_like(covered)
    for strip in strips_of(height, 4 * width):
        check()
        *colours, alpha = (np.asarray(plane, np.float32) for plane in cv2.split(covered[strip]))
        straight[strip] = _rounded(colours, alpha / np.float32(255))
    return straight


def blur_backdrop(picture: Rgb, *, check: Check = no_check) -> Rgb:
    """Blur a picture strongly, for use as a backdrop."""
    return blur(picture, max(0.5, _BACKDROP_BLUR * max(picture.shape[:2])), check=check)


def _transposed(picture: Rgb) -> Rgb:
    return np.asarray(cv2.transpose(picture), np.uint8)


def opaque(cutout: Cutout) -> Rgb:
    """Return the colours of an opaque cutout."""
    return np.ascontiguousarray(cutout[:, :, :3])


def is_opaque(cutout: Cutout) -> bool:
    """Return whether every pixel is opaque."""
    alpha: Grey = cutout[:, :, 3]
    return bool(alpha.min() == 255)

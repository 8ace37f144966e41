"""Compose: colours and opacity become a cutout, or a picture on a new background."""

import cv2
import numpy as np

from app.arrays import AlphaMatte, Cutout, Grey, Rgb
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of
from app.imaging.tiles import covering, moved


def assemble_cutout(foreground: Rgb, alpha: Grey, *, check: Check = no_check) -> Cutout:
    """Join colours and opacity into a straight-alpha cutout.

    The colours are zeroed where alpha is 0, so that the removed background cannot be recovered from the
    file.

    Raises:
        ValueError: The two arrays differ in height or width.
    """
    _check_same_size(foreground, alpha)
    cutout = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    for rows in strips_of(*alpha.shape):
        check()
        part = covering(alpha[rows], 1)
        if part is None:
            continue
        visible = moved(part, rows.start, 0)
        strip, opacity = cutout[visible], alpha[visible]
        cv2.cvtColor(foreground[visible], cv2.COLOR_RGB2RGBA, strip)
        cv2.insertChannel(opacity, strip, 3)
        strip.view(np.uint32)[:, :, 0] *= opacity > 0
    return cutout


def over_colour(cutout: Cutout, colour: tuple[int, int, int], *, check: Check = no_check) -> Rgb:
    """Lay a cutout over one colour, in sRGB as browsers do; rounds to nearest.

    Args:
        cutout: Straight alpha.
        colour: (red, green, blue), each 0 to 255.
        check: Called for each strip.
    """
    rgb = np.empty((*cutout.shape[:2], 3), dtype=np.uint8)
    for rows in strips_of(*cutout.shape[:2]):
        check()
        strip = cutout[rows]
        alpha = strip[:, :, 3].astype(np.uint16)
        for channel in range(3):
            mixed = strip[:, :, channel] * alpha
            mixed += (255 - alpha) * np.uint16(colour[channel])
            mixed += 128
            mixed += mixed >> 8  # (x + 128 + (x + 128) / 256) / 256 is x / 255, rounded; all fits 16 bits
            rgb[rows, :, channel] = mixed >> 8
    return rgb


def over_white(rgb: Rgb, own_alpha: Grey, *, check: Check = no_check) -> Rgb:
    """Lay a picture over white by its own alpha, rounded to nearest; hidden colours leave no trace.

    Raises:
        ValueError: The two arrays differ in height or width.
    """
    _check_same_size(rgb, own_alpha)
    laid = np.empty_like(rgb)
    for rows in strips_of(*own_alpha.shape):
        check()
        laid[rows] = over_colour(np.dstack((rgb[rows], own_alpha[rows])), (255, 255, 255))
    return laid


def premultiply(rgb: Rgb, own_alpha: Grey, *, check: Check = no_check) -> Cutout:
    """Join colours and alpha, the colours multiplied by alpha and rounded, so that they scale correctly.

    Raises:
        ValueError: The two arrays differ in height or width.
    """
    _check_same_size(rgb, own_alpha)
    joined = np.empty((*own_alpha.shape, 4), np.uint8)
    for rows in strips_of(*own_alpha.shape):
        check()
        alpha = own_alpha[rows]
        joined[rows, :, :3] = cv2.multiply(rgb[rows], cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
        joined[rows, :, 3] = alpha
    return joined


def hide_in_white(rgb: Rgb, own_alpha: Grey) -> None:
    """Paint a picture white, in place, wherever its own alpha is 0."""
    for rows in strips_of(*own_alpha.shape):
        is_hidden = own_alpha[rows] == 0
        rgb[rows] |= np.where(is_hidden, np.uint8(255), np.uint8(0))[:, :, None]


def combine_alpha(alpha: AlphaMatte, own_alpha: Grey) -> AlphaMatte:
    """Multiply the matte by the picture's own alpha, so that see-through pixels stay see-through.

    Raises:
        ValueError: The two arrays differ in height or width.
    """
    _check_same_size(alpha, own_alpha)
    product = cv2.multiply(alpha, own_alpha, scale=1 / 255, dtype=cv2.CV_32F)
    return np.asarray(product, dtype=np.float32)


def _check_same_size(first: Rgb | AlphaMatte, second: AlphaMatte | Grey) -> None:
    if first.shape[:2] != second.shape[:2]:
        raise ValueError(f"sizes differ: {first.shape[:2]} and {second.shape[:2]}")

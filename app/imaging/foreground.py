"""Foreground: the colours that the subject would have without its background.

Strategy: blur fusion. Where a pixel is part subject and part background, its colour is a mixture; pasted
elsewhere it would show a rim of the old background. The colours around it are averaged, weighted by how
much they are subject (F) and how much background (B), and both are then moved so that their mixture
comes out as the colour that was seen. This is repeated with ever smaller neighbourhoods. The averages
vary slowly and are taken on a coarse grid; only the last move is made at full resolution, tile by tile,
and only where alpha is neither 0 nor 1.

The paper has two neighbourhoods, weights of plain alpha, and moves F alone. Five neighbourhoods, squared
weights (a half-transparent pixel says little about either colour) and moving B too halve its error.

References:
    Forte and Pitié, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Rgb
from app.imaging.tiles import enlarge_tile, shrink, tiles_of

_COARSE_SIDE_PX = 512  # about an eighth of a 12-megapixel picture's longer side
_RADII = (24, 11, 4, 2, 1)  # of the neighbourhoods, in parts of ``_COARSE_SIDE_PX`` to the longer side
_EPSILON = 1e-7  # keeps the quotient finite where nothing of the subject, or of the background, is near

_Float = NDArray[np.float32]


def estimate_foreground(rgb: Rgb, alpha: AlphaMatte) -> Rgb:
    """Estimate the subject's own colours where alpha is neither 0 nor 1; elsewhere they are ``rgb``.

    Kept in 8 bits: three floats a pixel would be 600 MB at 50 megapixels, for colours that are written
    in 8 bits anyway. Rounds half to even.

    Args:
        rgb: Upright picture, (H, W, 3).
        alpha: (H, W) in [0, 1].

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: The two arrays differ in height or width.
    """
    if rgb.shape[:2] != alpha.shape:
        raise ValueError(f"sizes differ: {rgb.shape[:2]} and {alpha.shape}")
    height, width = alpha.shape
    scale = max(1, round(max(height, width) / _COARSE_SIDE_PX))
    pair = _coarse_pair(shrink(rgb, scale).astype(np.float32), shrink(alpha, scale))
    foreground = rgb.copy()
    for tile in tiles_of(height, width, multiple_px=scale):
        is_mixed = (alpha[tile] > 0) & (alpha[tile] < 1)
        if is_mixed.any():
            unmixed = _unmixed(rgb[tile], alpha[tile], enlarge_tile(pair, tile, scale))
            np.copyto(foreground[tile], unmixed, where=is_mixed[:, :, None])
    return foreground


def _coarse_pair(rgb: _Float, alpha: AlphaMatte) -> _Float:
    """Estimate F and B on the coarse grid: (h, w, 6), in 0 to 255.

    Works in arrays that are made once: in the server, fresh ones of a megabyte cost more than the sums.
    """
    opacities = alpha[:, :, None], 1 - alpha[:, :, None]
    weights = [opacity * opacity for opacity in opacities]
    colours, means = [rgb.copy(), rgb.copy()], [np.empty_like(rgb), np.empty_like(rgb)]
    share, lacking = np.empty_like(rgb), np.empty_like(rgb)
    for radius in _RADII:
        radius_px = max(1, round(radius * max(alpha.shape) / _COARSE_SIDE_PX))
        np.copyto(lacking, rgb)
        for opacity, weight, colour, mean in zip(opacities, weights, colours, means, strict=True):
            _average(np.multiply(colour, weight, out=share), weight, radius_px, out=mean)
            lacking -= np.multiply(opacity, mean, out=share)
        for opacity, colour, mean in zip(opacities, colours, means, strict=True):
            np.add(mean, np.multiply(opacity, lacking, out=share), out=colour)
            np.clip(colour, 0, 255, out=colour)
    return np.dstack(means).astype(np.float32, copy=False)


def _average(weighed: _Float, weight: _Float, radius_px: int, *, out: _Float) -> None:
    """Average colours, which come times their weight, over square windows."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    cv2.blur(weighed, size, dst=out)
    weights = np.asarray(cv2.blur(weight, size), dtype=np.float32)
    out /= weights[:, :, None] + np.float32(_EPSILON)


def _unmixed(rgb: Rgb, alpha: AlphaMatte, pair: _Float) -> Rgb:
    """Move F at full resolution by what the mixture of F and B lacks of the colour seen."""
    opacity, foreground, background = alpha[:, :, None], pair[:, :, :3], pair[:, :, 3:]
    lacking = rgb - opacity * foreground - (1 - opacity) * background
    moved = np.clip(foreground + opacity * lacking, 0, 255)
    return np.asarray(np.rint(moved), dtype=np.uint8)

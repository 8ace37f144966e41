"""Foreground: estimates the colours that the subject would have without its background.

Strategy: blur fusion. Where a pixel is part subject and part background, its colour is a mixture; pasted
elsewhere it would show a rim of the old background. The colours around it are averaged, weighted by how
much they are subject (F) and how much background (B), and both are then corrected so that their mixture
equals the picture's colour. This is repeated with ever smaller neighbourhoods. The averages vary slowly and
are computed on a coarse grid; only the last correction is made at full resolution, tile by tile, and only
where alpha is neither 0 nor 1.

The paper uses two neighbourhoods, plain alpha as weights, and corrects F alone. Five neighbourhoods, squared
weights (a half-transparent pixel contains little of either colour) and correcting B too halve its error.

References:
    Forte and Pitié, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Rgb
from app.imaging.progress import Check, no_check
from app.imaging.tiles import enlarge_tile, extent, shrink, tiles_of

_COARSE_SIDE_PX = 512  # about an eighth of a 12-megapixel picture's longer side
_RADII = (24, 11, 4, 2, 1)  # of the neighbourhoods, in parts of ``_COARSE_SIDE_PX`` to the longer side
_EPSILON = 1e-7  # keeps the quotient finite where no subject, or no background, is near

_UNMIXED = ((0, 0), (1, 1))  # extents of tiles that are all background or all subject

_Float = NDArray[np.float32]


def estimate_foreground(rgb: Rgb, alpha: AlphaMatte, *, check: Check = no_check) -> Rgb:
    """Estimate the subject's own colours where alpha is neither 0 nor 1; elsewhere return those of ``rgb``.

    The result is in 8 bits: three floats a pixel would be 600 MB at 50 megapixels, for colours that are
    encoded in 8 bits anyway. Rounds half to even.

    Args:
        rgb: Upright picture, (H, W, 3).
        alpha: (H, W) in [0, 1].
        check: Called for each tile.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: The two arrays differ in height or width.
    """
    if rgb.shape[:2] != alpha.shape:
        raise ValueError(f"sizes differ: {rgb.shape[:2]} and {alpha.shape}")
    height, width = alpha.shape
    scale = max(1, round(max(height, width) / _COARSE_SIDE_PX))
    check()
    pair = _coarse_pair(shrink(rgb, scale).astype(np.float32), shrink(alpha, scale))
    foreground = rgb.copy()
    for tile in tiles_of(height, width, multiple_px=scale):
        check()
        if extent(alpha[tile]) not in _UNMIXED:
            corrected = _corrected(rgb[tile], alpha[tile], enlarge_tile(pair, tile, scale))
            is_mixed = (alpha[tile] > 0) & (alpha[tile] < 1)
            cv2.copyTo(corrected, is_mixed.view(np.uint8), foreground[tile])
    return foreground


def _coarse_pair(rgb: _Float, alpha: AlphaMatte) -> _Float:
    """Estimate F and B on the coarse grid: (h, w, 6), in 0 to 255.

    Works plane by plane, in arrays that are allocated once: when alpha is broadcast over three interleaved
    colours, numpy's inner loop has length three, and fresh arrays of a megabyte cost the server more than
    the sums.
    """
    opacities = alpha, 1 - alpha
    weights = [opacity * opacity for opacity in opacities]
    planes = [np.asarray(plane, dtype=np.float32) for plane in cv2.split(rgb)]
    estimates = [[plane.copy() for plane in planes] for _ in opacities]
    means = [[np.empty_like(plane) for plane in planes] for _ in opacities]
    share, error = np.empty_like(alpha), np.empty_like(alpha)
    for radius in _RADII:
        radius_px = max(1, round(radius * max(alpha.shape) / _COARSE_SIDE_PX))
        nearby = [_average(weight, radius_px) + np.float32(_EPSILON) for weight in weights]
        for channel, plane in enumerate(planes):
            np.copyto(error, plane)
            for side, opacity in enumerate(opacities):
                mean = means[side][channel]
                np.multiply(estimates[side][channel], weights[side], out=share)
                _average(share, radius_px, out=mean)
                mean /= nearby[side]
                error -= np.multiply(opacity, mean, out=share)
            for side, opacity in enumerate(opacities):
                estimate = estimates[side][channel]
                np.add(means[side][channel], np.multiply(opacity, error, out=share), out=estimate)
                np.clip(estimate, 0, 255, out=estimate)
    return np.asarray(cv2.merge([*means[0], *means[1]]), dtype=np.float32)


def _average(plane: _Float, radius_px: int, *, out: _Float | None = None) -> _Float:
    """Average a plane over square windows."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    return np.asarray(cv2.blur(plane, size, dst=out), dtype=np.float32)


def _corrected(rgb: Rgb, alpha: AlphaMatte, pair: _Float) -> Rgb:
    """Correct F at full resolution by the difference between ``rgb`` and the mixture of F and B."""
    planes = cv2.split(pair)
    transparency = 1 - alpha
    corrected = np.empty_like(rgb)
    for channel, (foreground, background) in enumerate(zip(planes[:3], planes[3:], strict=True)):
        error = rgb[:, :, channel] - alpha * foreground
        error -= transparency * background
        error *= alpha
        error += foreground
        np.clip(error, 0, 255, out=error)
        corrected[:, :, channel] = np.rint(error, out=error)
    return corrected

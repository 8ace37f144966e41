"""Foreground: estimates the colours that the subject would have without its background.

Strategy: blur fusion. Where a pixel is part subject and part background, its colour is a mixture; pasted
elsewhere it would show a rim of the old background. The colours around it are averaged, weighted by how
much they are subject (F) and how much background (B), and both are then corrected so that their mixture
equals the picture's colour. This is repeated with ever smaller neighbourhoods. The averages vary slowly and
are computed on a coarse grid; only the last correction is made at full resolution, tile by tile, and only
where alpha is neither 0 nor 1.

Only the mixed cells of the coarse grid, which contain such a pixel, change from one neighbourhood to the
next: a cell that is all subject keeps its colour as F and has no weight in B, and the other way round. So the
averages are taken in the box around the mixed cells, and the corrections in these cells alone.

The paper uses two neighbourhoods, plain alpha as weights, and corrects F alone. Five neighbourhoods, squared
weights (a half-transparent pixel contains little of either colour) and correcting B too halve its error.

References:
    Forte and Pitié, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
"""

from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Mask, Rgb
from app.imaging.progress import Check, no_check
from app.imaging.tiles import Tile, covering, enlarge_planes, moved, shrink, side_of_tiles, surroundings

_COARSE_SIDE_PX = 512  # about an eighth of a 12-megapixel picture's longer side
_RADII = (24, 11, 4, 2, 1)  # of the neighbourhoods, in parts of ``_COARSE_SIDE_PX`` to the longer side
_EPSILON = 1e-7  # keeps the quotient finite where no subject, or no background, is near

_ALL_SUBJECT = 1 - 1e-6  # a block of ones may average to slightly less
_ABOVE_0, _BELOW_1 = (float(np.nextafter(np.float32(edge), np.float32(0.5))) for edge in (0, 1))

_CELL = np.dtype((np.void, 16))  # the four channels of a cell, moved as one

_Float = NDArray[np.float32]
_Scalar = TypeVar("_Scalar", np.uint8, np.float32)


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
    coarse_alpha = shrink(alpha, scale)
    is_mixed = (coarse_alpha > 0) & (coarse_alpha < _ALL_SUBJECT)
    foreground = rgb.copy()
    if not is_mixed.any():
        return foreground
    check()
    radii_px = [max(1, round(radius * max(coarse_alpha.shape) / _COARSE_SIDE_PX)) for radius in _RADII]
    cells = surroundings(_box(is_mixed), *is_mixed.shape, reach=max(radii_px) + 1, scale=1)
    rows, columns = (slice(side.start * scale, side.stop * scale) for side in cells)
    coarse_rgb = shrink(rgb[rows, columns], scale)
    pair = _coarse_pair(coarse_rgb, coarse_alpha[cells], is_mixed[cells], radii_px)
    for tile in _mixed_tiles(is_mixed, height, width, scale):
        check()
        is_changed = np.asarray(cv2.inRange(alpha[tile], _ABOVE_0, _BELOW_1), np.uint8)
        part = covering(is_changed, scale)
        if part is not None:
            in_picture = moved(part, tile[0].start, tile[1].start)
            in_box = moved(in_picture, -rows.start, -columns.start)
            planes = enlarge_planes(pair, in_box, scale)
            corrected = _corrected(rgb[in_picture], alpha[in_picture], planes)
            cv2.copyTo(corrected, is_changed[part], foreground[in_picture])
    return foreground


def _box(mask: Mask) -> Tile:
    """Return the smallest box around the pixels of a mask that has some."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _mixed_tiles(is_mixed: Mask, height: int, width: int, scale: int) -> Iterator[Tile]:
    """Yield the tiles of the picture with mixed cells."""
    side_px = side_of_tiles(scale)
    found = is_mixed
    for axis, cells in enumerate(is_mixed.shape):
        found = np.logical_or.reduceat(found, np.arange(0, cells, side_px // scale), axis=axis)
    for top, left in (np.argwhere(found) * side_px).tolist():
        yield slice(top, min(top + side_px, height)), slice(left, min(left + side_px, width))


def _coarse_pair(rgb: Rgb, alpha: AlphaMatte, is_mixed: Mask, radii_px: list[int]) -> list[_Float]:
    """Estimate F and B on the coarse grid: six planes in levels, valid in the mixed cells and next to them.

    The grid must contain the neighbourhood of each of these cells, as far as the picture reaches. Weights and
    weighted colours are averaged as four channels, which OpenCV does in half of the time of four planes.
    All else is computed plane by plane, and only for the mixed cells.
    """
    mixed = np.flatnonzero(is_mixed)
    colours = _planes_of(rgb.reshape(-1, 3).take(mixed, axis=0)).astype(np.float32)
    opacities, shares = [], []
    for opacity in (alpha, 1 - alpha):
        opacities.append(opacity.ravel().take(mixed))
        shares.append(_weighted(rgb, opacity * opacity))
    blurred = np.empty_like(shares[0])
    for radius_px in radii_px[:-1]:
        means = []
        for share in shares:
            averaged = _average(share, radius_px, out=blurred).reshape(-1, 4).take(mixed, axis=0)
            *mean, nearby = _planes_of(averaged)
            means.append(np.divide(mean, nearby + np.float32(_EPSILON)))
        error = colours - opacities[0] * means[0]
        error -= opacities[1] * means[1]
        for mean, opacity, share in zip(means, opacities, shares, strict=True):
            mean += opacity * error
            np.clip(mean, 0, 255, out=mean)
            weight = opacity * opacity
            mean *= weight
            values = cv2.merge([*mean, weight])  # (N, 1, 4)
            share.view(_CELL).ravel()[mixed] = np.asarray(values, np.float32).view(_CELL).ravel()
    pair = []
    for share in shares:
        *means, nearby = cv2.split(_average(share, radii_px[-1], out=blurred))
        divisor = np.asarray(nearby, np.float32) + np.float32(_EPSILON)
        pair += [np.asarray(mean, np.float32) / divisor for mean in means]
    return pair


def _weighted(rgb: Rgb, weight: _Float) -> _Float:
    """Return the colours times a weight, and the weight: (h, w, 4)."""
    planes = [cv2.multiply(plane, weight, dtype=cv2.CV_32F) for plane in cv2.split(rgb)]
    return np.asarray(cv2.merge([*planes, weight]), np.float32)


def _planes_of(pixels: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return pixels (N, C) as planes (C, N)."""
    return np.ascontiguousarray(pixels.T)


def _average(pixels: _Float, radius_px: int, *, out: _Float) -> _Float:
    """Average pixels over square windows."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    return np.asarray(cv2.blur(pixels, size, dst=out), dtype=np.float32)


def _corrected(rgb: Rgb, alpha: AlphaMatte, planes: list[_Float]) -> Rgb:
    """Correct F at full resolution by the difference between ``rgb`` and the mixture of F and B."""
    corrected = []
    for colour, foreground, background in zip(cv2.split(rgb), planes[:3], planes[3:], strict=True):
        error = cv2.subtract(foreground, background)
        cv2.multiply(error, alpha, error)
        cv2.add(error, background, error)
        cv2.subtract(colour, error, error, dtype=cv2.CV_32F)
        cv2.multiply(error, alpha, error)
        corrected.append(cv2.add(error, foreground, dtype=cv2.CV_8U))  # rounds and clips
    return np.asarray(cv2.merge(corrected), np.uint8)

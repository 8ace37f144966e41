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


def _coarse_pair(rgb: Rgb, alpha: AlphaMatte, is_mixed: Mask, radii_px: list[int]) -> _Float:
    """Estimate F and B on the coarse grid: (6, h, w), in levels, valid in the mixed cells and next to them.

    The grid must contain the neighbourhood of each of these cells, as far as the picture reaches. Works plane
    by plane: when alpha is broadcast over three interleaved colours, numpy's inner loop has length three.
    """
    opacities = alpha, 1 - alpha
    weights = [opacity * opacity for opacity in opacities]
    planes = [plane.astype(np.float32) for plane in cv2.split(rgb)]
    shares = [[plane * weight for plane in planes] for weight in weights]
    mixed = np.flatnonzero(is_mixed)
    colours = np.stack([plane.ravel()[mixed] for plane in planes])  # (3, N)
    mixed_opacities, mixed_weights = (
        [array.ravel()[mixed] for array in arrays] for arrays in (opacities, weights)
    )
    blurred = np.empty_like(alpha)
    for radius_px in radii_px[:-1]:
        means = []
        for weight, share in zip(weights, shares, strict=True):
            nearby = _average(weight, radius_px, out=blurred).ravel()[mixed] + np.float32(_EPSILON)
            mean = np.stack([_average(plane, radius_px, out=blurred).ravel()[mixed] for plane in share])
            means.append(np.divide(mean, nearby, out=mean))
        error = colours - mixed_opacities[0] * means[0]
        error -= mixed_opacities[1] * means[1]
        for mean, opacity, weight, share in zip(means, mixed_opacities, mixed_weights, shares, strict=True):
            mean += opacity * error
            np.clip(mean, 0, 255, out=mean)
            mean *= weight
            for plane, values in zip(share, mean, strict=True):
                plane.ravel()[mixed] = values
    pair = []
    for weight, share in zip(weights, shares, strict=True):
        nearby = _average(weight, radii_px[-1]) + np.float32(_EPSILON)
        pair += [_average(plane, radii_px[-1]) / nearby for plane in share]
    return np.stack(pair)


def _average(plane: _Float, radius_px: int, *, out: _Float | None = None) -> _Float:
    """Average a plane over square windows."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    return np.asarray(cv2.blur(plane, size, dst=out), dtype=np.float32)


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

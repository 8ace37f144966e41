"""Matte: a coarse saliency map and its picture become an alpha matte.

Strategy: the colour guided filter of He et al. finds, window by window, the linear function of the three
colours that best fits the map, and so moves the map's edges onto the picture's. Three changes adapt it to a
network's map.

1. The functions are fitted at about the map's own resolution, on colours blurred as much as the network
   blurs its map. Fitting a blurred map to sharp colours would flatten every slope; with both blurred
   alike, the function that holds for them holds for the sharp colours too, to which it is then applied.
   On ideal maps this halves the error of the plain fast guided filter.
2. They are applied only in the soft band, where the map is sure of neither background nor subject.
   Everywhere else the matte is exactly 0 or 1; otherwise the filter would leak texture there.
3. The matte never leaves the range of the map's values nearby, so it has no hole or speck that the map
   does not have.

Full-resolution work is done tile by tile, in the tiles that hold a part of the soft band: the matte is the
only float array of the picture's size. The functions are fitted in the box around those tiles.

References:
    He, Sun and Tang, "Guided Image Filtering", TPAMI 2013.
    He and Sun, "Fast Guided Filter", 2015, arXiv:1505.00996.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Rgb, RgbFloat, SaliencyMap
from app.imaging.matting.guided_filter import fit_colour_model
from app.imaging.matting.soft_band import (
    SURE_BACKGROUND,
    SURE_FOREGROUND,
    SoftBand,
    find_soft_band,
    shrink_enlarged,
)
from app.imaging.progress import Check, no_check
from app.imaging.tiles import Tile, covering, enlarge_planes, moved, shrink, surroundings

_MAP_SIDE_PX = 320  # of a U²-Net map; the radius and the blur are in its pixels
_MAX_FIT_SIDE_PX = 960  # of a refined map; the maximum resolution at which coefficients are fitted
_RADIUS = 3.0  # of the windows
_BLUR = 1.2  # standard deviation of the network's own blur, and of enlarging its map
_EPSILON = 2e-4  # colour variance, colours in [0, 1]: that of a noisy photo

_UPSAMPLING_RADIUS_PX = 2  # of the windows that upsample a matte: it is sharp, so they may be small
_UPSAMPLING_EPSILON = 1e-5

_Coefficients = NDArray[np.float32]


def refine_alpha(
    rgb: Rgb,
    saliency: SaliencyMap,
    *,
    radius: float = _RADIUS,
    epsilon: float = _EPSILON,
    check: Check = no_check,
) -> AlphaMatte:
    """Move the edges of a saliency map onto those of its picture, inside the map's soft band.

    Args:
        rgb: Upright picture, (H, W, 3).
        saliency: Stretched map in [0, 1] of any size; it is stretched over the whole picture.
        radius: Of the filter's square windows, in pixels of the map; if the map is smaller than a
            U²-Net's, in 320ths of the picture's longer side.
        epsilon: Colour variance below which a window counts as flat, colours in [0, 1].
        check: Called between the steps, and for each tile.

    Returns:
        (H, W) float32 in [0, 1]; exactly 0 or 1 outside the soft band.
    """
    height, width = rgb.shape[:2]
    map_side_px = min(_MAX_FIT_SIDE_PX, max(_MAP_SIDE_PX, *saliency.shape))
    scale = max(1, round(max(height, width) / map_side_px))
    check()
    band = find_soft_band(saliency, height, width, multiple_px=scale)
    alpha = band.sure_alpha()
    box = band.box()
    if box is None:
        return alpha
    sigmas = [_BLUR * side / scale / map_side_px for side in (height, width)]
    radius_px = max(1, round(radius * max(height, width) / scale / map_side_px))
    reach = 2 * radius_px + 2 + round(4 * max(sigmas))  # of the fit, the interpolation and the blur
    around = surroundings(box, height, width, reach=reach, scale=scale)
    check()
    guide = _blurred(shrink(rgb[around], scale), *sigmas)
    check()
    target = shrink_enlarged(saliency, height, width, scale)[_blocks(around, scale)]
    coefficients = fit_edges(guide, target, radius_px=radius_px, epsilon=epsilon, check=check)
    del guide
    _apply(alpha, rgb, coefficients, band, origin=around, scale=scale, check=check)
    return alpha


def upsample_alpha(
    rgb: Rgb,
    saliency: SaliencyMap,
    coarse_rgb: Rgb,
    coarse_alpha: AlphaMatte,
    *,
    scale: int,
    check: Check = no_check,
) -> AlphaMatte:
    """Upsample a matte of the shrunk picture to full resolution, guided by the picture's edges.

    Args:
        rgb: Upright picture, (H, W, 3).
        saliency: The stretched map that defines the soft band.
        coarse_rgb: ``rgb`` shrunk by ``scale``.
        coarse_alpha: The matte of ``coarse_rgb``, as sharp as ``coarse_rgb``.
        scale: A whole number.
        check: Called for each tile.

    Returns:
        (H, W) float32 in [0, 1]; exactly 0 or 1 outside the soft band.
    """
    height, width = rgb.shape[:2]
    band = find_soft_band(saliency, height, width, multiple_px=scale)
    alpha = band.sure_alpha()
    box = band.box()
    if box is None:
        return alpha
    around = surroundings(box, height, width, reach=2 * _UPSAMPLING_RADIUS_PX + 2, scale=scale)
    cells = _blocks(around, scale)
    guide = coarse_rgb[cells].astype(np.float32) / np.float32(255)
    coefficients = fit_edges(
        guide,
        coarse_alpha[cells],
        radius_px=_UPSAMPLING_RADIUS_PX,
        epsilon=_UPSAMPLING_EPSILON,
        check=check,
    )
    del guide
    check()
    _apply(alpha, rgb, coefficients, band, origin=around, scale=scale, check=check)
    return alpha


def _blocks(part: Tile, scale: int) -> Tile:
    """Return the blocks of a part of the picture."""
    rows, columns = (slice(side.start // scale, -(-side.stop // scale)) for side in part)
    return rows, columns


def _apply(
    alpha: AlphaMatte,
    rgb: Rgb,
    coefficients: _Coefficients,
    band: SoftBand,
    *,
    origin: Tile,
    scale: int,
    check: Check,
) -> None:
    """Write the matte of the soft tiles in place; ``coefficients`` are those of the part ``origin``."""
    top, left = (side.start for side in origin)
    for tile, enlarged in band.soft_tiles():
        check()
        cv2.threshold(enlarged, SURE_FOREGROUND, 1, cv2.THRESH_BINARY, alpha[tile])
        is_soft = np.asarray(cv2.inRange(enlarged, SURE_BACKGROUND, SURE_FOREGROUND), np.uint8)
        part = covering(is_soft, scale)
        if part is not None:
            in_picture = moved(part, tile[0].start, tile[1].start)
            in_box = moved(in_picture, -top, -left)
            refined = apply_edges(rgb[in_picture], coefficients, tile=in_box, scale=scale)
            cv2.copyTo(refined, is_soft[part], alpha[in_picture])


def _blurred(rgb: Rgb, sigma_down: float, sigma_right: float) -> RgbFloat:
    """Convert to float and blur as the network does, by about a pixel of its map on each axis."""
    colours = rgb.astype(np.float32) / np.float32(255)
    blurred = cv2.GaussianBlur(colours, (0, 0), sigmaX=sigma_right, sigmaY=sigma_down)
    return np.asarray(blurred, dtype=np.float32)


def fit_edges(
    guide: RgbFloat, target: SaliencyMap, *, radius_px: int, epsilon: float, check: Check = no_check
) -> _Coefficients:
    """Fit the colour model for 8-bit colours, and find the range of the map's values nearby.

    Args:
        guide: (h, w, 3) in [0, 1].
        target: (h, w) in [0, 1], the map to fit.
        radius_px: Of the square windows.
        epsilon: Regularisation, a colour variance.
        check: Called for each strip.

    Returns:
        (6, h, w): three slopes, the offset, and the lowest and highest value nearby.
    """
    model = fit_colour_model(guide, target, radius_px=radius_px, epsilon=epsilon, check=check)
    model[:, :, :3] /= 255
    window = np.ones((2 * radius_px + 1, 2 * radius_px + 1), dtype=np.uint8)
    return np.stack([*cv2.split(model), cv2.erode(target, window), cv2.dilate(target, window)])


def apply_edges(rgb: Rgb, coefficients: _Coefficients, *, tile: Tile, scale: int) -> AlphaMatte:
    """Apply the models of ``fit_edges`` to the colours of one tile.

    Args:
        rgb: (H, W, 3), the pixels of the tile.
        coefficients: Those of the whole picture, shrunk by ``scale``.
        tile: The place of the tile in the picture.
        scale: A whole number.

    Returns:
        (H, W) float32, within the range of the fitted map nearby.
    """
    red, green, blue, offset, lowest, highest = enlarge_planes([*coefficients], tile, scale)
    for slope, colour in zip((red, green, blue), cv2.split(rgb), strict=True):
        cv2.multiply(slope, colour, slope, dtype=cv2.CV_32F)
        cv2.add(offset, slope, offset)
    cv2.max(offset, lowest, offset)
    cv2.min(offset, highest, offset)
    return np.asarray(offset, np.float32)

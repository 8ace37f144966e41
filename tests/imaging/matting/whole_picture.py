"""Whole picture: the matte and the foreground colours computed at full resolution everywhere.

These are the formulas of ``matte.py`` and ``foreground.py`` without tiles, boxes and sparse cells, as an
oracle for both. They take ten times the memory and several times the time.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Rgb, SaliencyMap
from app.imaging.matting.guided_filter import fit_colour_model
from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.soft_band import SURE_BACKGROUND, SURE_FOREGROUND

MAP_PX, MAX_PX, RADIUS, BLUR, EPSILON = 320, 960, 3.0, 1.2, 2e-4
GRID_PX, RADII, DIVISOR_EPSILON = 512, (24, 11, 4, 2, 1), 1e-7

Floats = NDArray[np.float32]


def whole_alpha(rgb: Rgb, saliency: SaliencyMap) -> AlphaMatte:
    """Compute the matte of ``refine_alpha``."""
    height, width = rgb.shape[:2]
    map_px = min(MAX_PX, max(MAP_PX, *saliency.shape))
    scale = max(1, round(max(height, width) / map_px))
    enlarged = resize_saliency(saliency, height, width)
    colours = averaged(rgb, scale).astype(np.float32) / np.float32(255)
    down, right = (BLUR * side / scale / map_px for side in (height, width))
    guide = cv2.GaussianBlur(colours, (0, 0), sigmaX=right, sigmaY=down)
    radius_px = max(1, round(RADIUS * max(height, width) / scale / map_px))
    target = averaged(enlarged, scale)
    model = fit_colour_model(np.asarray(guide, np.float32), target, radius_px=radius_px, epsilon=EPSILON)
    window = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    lowest, highest = (interpolated(find(target, window), scale, rgb) for find in (cv2.erode, cv2.dilate))
    slopes = interpolated(model, scale, rgb)
    refined = (slopes[:, :, :3] * (rgb / np.float32(255))).sum(axis=2) + slopes[:, :, 3]
    refined = np.minimum(np.maximum(refined, lowest), highest)
    sure = (enlarged > SURE_FOREGROUND).astype(np.float32)
    is_soft = (enlarged >= SURE_BACKGROUND) & (enlarged <= SURE_FOREGROUND)
    return np.where(is_soft, refined, sure)


def whole_foreground(rgb: Rgb, alpha: AlphaMatte) -> Rgb:
    """Compute the colours of ``estimate_foreground``."""
    scale = max(1, round(max(alpha.shape) / GRID_PX))
    coarse, opacity = averaged(rgb, scale).astype(np.float32), averaged(alpha, scale)[:, :, None]
    foreground, background, means = coarse, coarse, (coarse, coarse)
    for radius in RADII:
        radius_px = max(1, round(radius * max(opacity.shape) / GRID_PX))
        means = (
            weighted_mean(foreground, opacity**2, radius_px),
            weighted_mean(background, (1 - opacity) ** 2, radius_px),
        )
        error = coarse - opacity * means[0] - (1 - opacity) * means[1]
        foreground = np.clip(means[0] + opacity * error, 0, 255)
        background = np.clip(means[1] + (1 - opacity) * error, 0, 255)
    subject, rest = (interpolated(mean, scale, rgb) for mean in means)
    full = alpha[:, :, None]
    corrected = np.rint(np.clip(subject + full * (rgb - full * subject - (1 - full) * rest), 0, 255))
    return np.where((full > 0) & (full < 1), corrected, rgb).astype(np.uint8)


def weighted_mean(colours: Floats, weight: Floats, radius_px: int) -> Floats:
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    total = cv2.blur(weight, size).reshape(weight.shape) + np.float32(DIVISOR_EPSILON)
    return np.asarray(cv2.blur(colours * weight, size), np.float32) / total


def averaged(pixels: NDArray[np.uint8] | Floats, scale: int) -> NDArray[np.uint8] | Floats:
    """Average by blocks, after the last row and column have been repeated to fill the last blocks."""
    if scale == 1:
        return pixels
    height, width = pixels.shape[:2]
    whole = cv2.copyMakeBorder(pixels, 0, -height % scale, 0, -width % scale, cv2.BORDER_REPLICATE)
    size = whole.shape[1] // scale, whole.shape[0] // scale
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), pixels.dtype)


def interpolated(grid: Floats, scale: int, rgb: Rgb) -> Floats:
    """Enlarge a coarse grid to the size of a picture."""
    size = grid.shape[1] * scale, grid.shape[0] * scale
    enlarged = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR) if scale > 1 else grid
    return np.asarray(enlarged, np.float32)[: rgb.shape[0], : rgb.shape[1]]

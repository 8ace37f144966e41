"""Guided filter: fits the colour guided filter's local linear models with box filters."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import RgbFloat, SaliencyMap
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of

_Float64 = NDArray[np.float64]
_STRIP_PX = 1 << 17  # more than a network's map of a 4:3 picture has
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of the symmetric 3 × 3 covariance


def fit_colour_model(
    guide: RgbFloat,
    target: SaliencyMap,
    *,
    radius_px: int,
    epsilon: float,
    check: Check = no_check,
) -> NDArray[np.float32]:
    """Fit ``target = slopes · guide + offset`` in each window, and average the models over the windows.

    Computes in double precision: the determinant of a grey window's covariance is of the order of epsilon²
    and is lost in single precision. Its 25 planes take 200 bytes a pixel, so it works in strips.

    Args:
        guide: (h, w, 3) in [0, 1].
        target: (h, w) in [0, 1], the map to fit, of the same size.
        radius_px: Of the square windows; the picture is mirrored at its borders.
        epsilon: Regularisation, a colour variance.
        check: Called for each strip.

    Returns:
        (h, w, 4): slopes for red, green and blue, and the offset.

    References:
        He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations 19 to 21.
    """
    height, width = target.shape
    reach_px = 2 * radius_px  # of a window, plus that of the windows whose models are averaged
    model = np.empty((height, width, 4), np.float32)
    for rows in strips_of(height, width, values=max(_STRIP_PX, 4 * reach_px * width)):
        check()
        above, below = max(0, rows.start - reach_px), min(height, rows.stop + reach_px)
        strip = _fitted(guide[above:below], target[above:below], radius_px, epsilon)
        model[rows] = strip[rows.start - above : rows.stop - above]
    return model


def _fitted(guide: RgbFloat, target: SaliencyMap, radius_px: int, epsilon: float) -> NDArray[np.float32]:
    """Fit the models of a strip; rows within two radii of an edge inside the picture lack neighbours."""
    side_px = 2 * radius_px + 1

    def mean(plane: _Float64) -> _Float64:
        blurred = cv2.blur(plane, (side_px, side_px), borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred, dtype=np.float64)

    colours = [np.asarray(plane, dtype=np.float64) for plane in cv2.split(guide)]
    values = target.astype(np.float64)
    mean_colours, mean_values = [mean(colour) for colour in colours], mean(values)
    covariance = [mean(colours[i] * colours[j]) - mean_colours[i] * mean_colours[j] for i, j in _PAIRS]
    correlation = [
        mean(colour * values) - mean_colour * mean_values
        for colour, mean_colour in zip(colours, mean_colours, strict=True)
    ]
    slopes = _solve(covariance, correlation, epsilon)
    explained = sum(slope * mean_colour for slope, mean_colour in zip(slopes, mean_colours, strict=True))
    models = [mean(coefficient) for coefficient in (*slopes, mean_values - explained)]
    return np.asarray(cv2.merge([model.astype(np.float32) for model in models]), dtype=np.float32)


def _solve(covariance: list[_Float64], correlation: list[_Float64], epsilon: float) -> list[_Float64]:
    """Solve (covariance + epsilon · identity) · slopes = correlation at each pixel, by cofactors."""
    rr, rg, rb, gg, gb, bb = covariance
    rr, gg, bb = rr + epsilon, gg + epsilon, bb + epsilon
    cofactors = {
        (0, 0): gg * bb - gb * gb,
        (0, 1): rb * gb - rg * bb,
        (0, 2): rg * gb - rb * gg,
        (1, 1): rr * bb - rb * rb,
        (1, 2): rb * rg - rr * gb,
        (2, 2): rr * gg - rg * rg,
    }
    determinant = rr * cofactors[0, 0] + rg * cofactors[0, 1] + rb * cofactors[0, 2]
    return [
        sum((cofactors[min(i, j), max(i, j)] * correlation[j] for j in range(3)), np.float64(0)) / determinant
        for i in range(3)
    ]

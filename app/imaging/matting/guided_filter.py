"""Guided: the colour guided filter's local linear models, fitted by box filters."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import RgbFloat, SaliencyMap
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of

_Float64 = NDArray[np.float64]
_AT_ONCE_PX = 1 << 17  # more than a network's map has in a picture of 4:3
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

    Works in double precision: the determinant of a grey window's covariance is some epsilon² large, and
    is lost in single precision. Twenty-five planes of it are 200 bytes a pixel, so it goes by strips.

    Args:
        guide: (h, w, 3) in [0, 1].
        target: (h, w) in [0, 1], same size: the map to be explained.
        radius_px: Of the square windows, which are mirrored at the borders.
        epsilon: Regularisation, a colour variance.
        check: Called for each strip.

    Returns:
        (h, w, 4): slopes for red, green and blue, and the offset.

    References:
        He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations 19 to 21.
    """
    height, width = target.shape
    reach_px = 2 * radius_px  # of a window, and of the windows whose models are averaged
    model = np.empty((height, width, 4), np.float32)
    for rows in strips_of(height, width, values=max(_AT_ONCE_PX, 4 * reach_px * width)):
        check()
        above, below = max(0, rows.start - reach_px), min(height, rows.stop + reach_px)
        strip = _fitted(guide[above:below], target[above:below], radius_px, epsilon)
        model[rows] = strip[rows.start - above : rows.stop - above]
    return model


def _fitted(guide: RgbFloat, target: SaliencyMap, radius_px: int, epsilon: float) -> NDArray[np.float32]:
    """Fit the models of a strip; those within two windows of an edge that is no border see too little."""
    side_px = 2 * radius_px + 1

    def mean(values: _Float64) -> _Float64:
        blurred = cv2.blur(values, (side_px, side_px), borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred, dtype=np.float64)

    colours = [np.asarray(plane, dtype=np.float64) for plane in cv2.split(guide)]
    wanted = target.astype(np.float64)
    mean_colours, mean_wanted = [mean(colour) for colour in colours], mean(wanted)
    covariance = [mean(colours[i] * colours[j]) - mean_colours[i] * mean_colours[j] for i, j in _PAIRS]
    correlation = [
        mean(colour * wanted) - mean_colour * mean_wanted
        for colour, mean_colour in zip(colours, mean_colours, strict=True)
    ]
    slopes = _solve(covariance, correlation, epsilon)
    explained = sum(slope * mean_colour for slope, mean_colour in zip(slopes, mean_colours, strict=True))
    models = [mean(coefficient) for coefficient in (*slopes, mean_wanted - explained)]
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

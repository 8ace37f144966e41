"""Guided: the colour guided filter's local linear models, fitted by box filters.

The fit takes some 260 bytes a pixel in double precision, so a large grid is fitted in bands of rows that
overlap by as much as the filters reach.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import RgbFloat, SaliencyMap

_Float64 = NDArray[np.float64]
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of the symmetric 3 × 3 covariance
_BAND_PX = 262_144  # fitted at once: a map of 480 × 480 is one band


def fit_colour_model(
    guide: RgbFloat, target: SaliencyMap, *, radius_px: int, epsilon: float
) -> NDArray[np.float32]:
    """Fit ``target = slopes · guide + offset`` in each window, and average the models over the windows.

    Works in double precision: the determinant of a grey window's covariance is some epsilon² large, and
    is lost in single precision.

    Args:
        guide: (h, w, 3) in [0, 1].
        target: (h, w) in [0, 1], same size: the map to be explained.
        radius_px: Of the square windows, which are mirrored at the borders.
        epsilon: Regularisation, a colour variance.

    Returns:
        (h, w, 4): slopes for red, green and blue, and the offset.

    References:
        He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations 19 to 21.
    """
    height, width = target.shape
    models = np.empty((height, width, 4), dtype=np.float32)
    reach_px = 2 * radius_px  # windows over windows
    for rows in _bands(height, width):
        top, bottom = max(0, rows.start - reach_px), min(height, rows.stop + reach_px)
        fitted = _fit(guide[top:bottom], target[top:bottom], side_px=2 * radius_px + 1, epsilon=epsilon)
        models[rows] = fitted[rows.start - top : rows.stop - top]
    return models


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _BAND_PX // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _fit(guide: RgbFloat, target: SaliencyMap, *, side_px: int, epsilon: float) -> NDArray[np.float32]:

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

"""Pictures: a seed becomes synthetic pictures for comparing two networks.

On noise, a saliency network returns values near zero everywhere, so any two networks would agree. These
pictures have objects, edges, textures, gradients and darkness, so that the maps use their whole range.
"""

import numpy as np
from numpy.typing import NDArray

SEED = 2020  # the year of the paper; any number would do


def synthetic_pictures(size_px: int, *, seed: int = SEED) -> NDArray[np.uint8]:
    """Generate four pictures: an object on a gradient, two on stripes, one in the dark, and all black.

    Args:
        size_px: Height and width.
        seed: The same seed gives the same pictures everywhere.

    Returns:
        (4, size_px, size_px, 3) uint8 RGB. The third has a maximum far below 255.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size_px, 0:size_px] / (size_px - 1)
    gradient = np.stack((rows, 1 - columns, 0.5 * (rows + columns)), axis=-1)
    stripes = np.repeat(0.5 + 0.3 * np.sin(40 * (rows + columns))[..., None], 3, axis=-1)
    grain = rng.normal(0.0, 0.04, size=gradient.shape)

    one = _paint(0.3 + 0.4 * gradient, _disc(rows, columns, (0.5, 0.45), 0.28), (0.9, 0.2, 0.1))
    two = _paint(stripes, _disc(rows, columns, (0.35, 0.3), 0.18), (0.1, 0.3, 0.9))
    two = _paint(two, _disc(rows, columns, (0.65, 0.7), 0.22), (0.95, 0.9, 0.2))
    dark = 0.3 * _paint(0.5 * gradient, np.abs(rows - 0.55) + np.abs(columns - 0.5) < 0.3, (0.8, 0.8, 0.7))
    black = np.zeros_like(gradient)

    return np.stack([_to_uint8(p) for p in (one + grain, two + grain, dark, black)])


def _disc(
    rows: NDArray[np.float64], columns: NDArray[np.float64], centre: tuple[float, float], radius: float
) -> NDArray[np.bool_]:
    return np.hypot(rows - centre[0], 1.3 * (columns - centre[1])) < radius


def _paint(
    rgb: NDArray[np.float64], mask: NDArray[np.bool_], colour: tuple[float, float, float]
) -> NDArray[np.float64]:
    return np.where(mask[..., None], np.asarray(colour), rgb)


def _to_uint8(rgb: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(255 * rgb), 0, 255).astype(np.uint8)

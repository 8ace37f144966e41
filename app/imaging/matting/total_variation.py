"""Total variation: divides a picture in two regions with a short border along its edges.

Strategy: the minimum cut of a grid, solved as a convex problem by the primal-dual iteration of Chambolle and
Pock. The minimiser over [0, 1] cut at one half is a minimal cut. Unlike a maximum flow, the iteration can be
ended at any time, and is a few operations on whole arrays.

References:
    Chan, Esedoglu and Nikolova, "Algorithms for Finding Global Minimizers of Image Segmentation and Denoising
    Models", SIAM 2006.
    Chambolle and Pock, "A First-Order Primal-Dual Algorithm for Convex Problems", JMIV 2011.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.arrays import Mask

ITERATIONS = 80
_STEP = np.float32(
    0.35
)  # of both variables: its square times the squared norm of the gradient, 8, is below 1

_Float = NDArray[np.float32]


def divide(
    cost: _Float,
    border: tuple[_Float, _Float],
    *,
    fixed: Mask,
    values: _Float,
    is_time_left: Callable[[], bool],
) -> tuple[_Float, bool]:
    """Minimise the cost of the region plus the length of its border.

    Args:
        cost: (h, w), what a pixel adds if it is in the region; negative if it belongs there.
        border: (h - 1, w) and (h, w - 1), what a border between two rows, or two columns, costs there.
        fixed: (h, w), the pixels that keep their value.
        values: (h, w) in [0, 1], where the iteration starts.
        is_time_left: Called before each iteration; when it returns false, the solution so far is used.

    Returns:
        (h, w) float32 in [0, 1], near 1 in the region, and whether all iterations were made.
    """
    region = values.astype(np.float32)
    ahead = region.copy()
    down, right = (np.zeros_like(limit) for limit in border)
    for _ in range(ITERATIONS):
        if not is_time_left():
            return region, False
        down += _STEP * np.diff(ahead, axis=0)
        right += _STEP * np.diff(ahead, axis=1)
        for flow, limit in zip((down, right), border, strict=True):
            np.clip(flow, -limit, limit, out=flow)
        slope = cost.copy()
        slope[1:] += down
        slope[:-1] -= down
        slope[:, 1:] += right
        slope[:, :-1] -= right
        moved = np.clip(region - _STEP * slope, 0, 1)
        moved[fixed] = values[fixed]
        ahead = 2 * moved - region
        region = moved
    return region, True

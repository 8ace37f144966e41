"""Geodesic: measures how far pixels are from a seed along paths that avoid changes of colour.

Strategy: raster sweeps. Each sweep relaxes the distances from one row, or column, to the next, so a sweep in
each of the four directions covers any path that does not turn back; winding paths take another round.

References:
    Toivanen, "New geodesic distance transforms for gray-scale images", Pattern Recognition Letters 1996.
"""

import numpy as np
from numpy.typing import NDArray

from app.arrays import Mask

ROUNDS = 2
"""Rounds of four sweeps; a path may turn back this often less one."""
_DIAGONAL = np.float32(2**0.5)
_FAR = np.float32(1e6)

_Float = NDArray[np.float32]


def geodesic_distance(seeds: Mask, colours: _Float, *, step_cost: float) -> _Float:
    """Return the length of the shortest path from the seeds to each pixel.

    A path moves between the eight neighbours. A move costs the sum of the absolute differences of the three
    colours, and the step.

    Args:
        seeds: (h, w), where the distance is 0.
        colours: (h, w, 3), in any unit; the distance has the same.
        step_cost: Cost of a move to a neighbour of the same colour; a diagonal one costs √2 times as much.

    Returns:
        (h, w) float32; a million where no seed is.
    """
    distance = np.where(seeds, np.float32(0), _FAR)
    step = np.float32(step_cost)
    down = np.abs(np.diff(colours, axis=0)).sum(axis=2) + step
    right = np.abs(np.diff(colours, axis=1)).sum(axis=2) + step
    falling = np.abs(colours[1:, 1:] - colours[:-1, :-1]).sum(axis=2) + step * _DIAGONAL
    rising = np.abs(colours[1:, :-1] - colours[:-1, 1:]).sum(axis=2) + step * _DIAGONAL
    for _ in range(ROUNDS):
        _sweep(distance, down, falling, rising)
        _sweep(distance[::-1], down[::-1], rising[::-1], falling[::-1])
        across = np.ascontiguousarray(distance.T)
        _sweep(across, right.T, falling.T, rising.T)
        _sweep(across[::-1], right.T[::-1], rising.T[::-1], falling.T[::-1])
        distance = np.ascontiguousarray(across.T)
    return distance


def _sweep(distance: _Float, straight: _Float, falling: _Float, rising: _Float) -> None:
    """Relax each row from the one before it, in place.

    Args:
        distance: (n, m).
        straight: (n - 1, m), the costs of moves to the same position of the next row.
        falling: (n - 1, m - 1), of moves to the next row and position.
        rising: (n - 1, m - 1), of moves to the next row and the position before.
    """
    for row in range(1, len(distance)):
        above, here = distance[row - 1], distance[row]
        np.minimum(here, above + straight[row - 1], out=here)
        np.minimum(here[1:], above[:-1] + falling[row - 1], out=here[1:])
        np.minimum(here[:-1], above[1:] + rising[row - 1], out=here[:-1])

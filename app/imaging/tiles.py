"""Tiles: coarse grids over a picture, and the tiles in which full-resolution work is done.

A coarse grid has one pixel for each ``scale`` × ``scale`` block of the picture. Any tile whose corner lies on
a block corner can therefore be interpolated from the few coarse pixels around it, exactly as the whole
picture would be.
"""

from collections.abc import Iterator
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Tile: TypeAlias = tuple[slice, slice]
_Scalar = TypeVar("_Scalar", np.uint8, np.float32)

_TILE_PX = 128  # a tile's arrays stay in the second-level cache, and below ``MAPPED_FROM_BYTES``


def shrink(pixels: NDArray[_Scalar], scale: int) -> NDArray[_Scalar]:
    """Average (H, W) or (H, W, C) pixels by blocks; blocks over the edge repeat the last row or column."""
    if scale == 1:
        return pixels
    height, width = pixels.shape[:2]
    below, right = -height % scale, -width % scale
    whole = pixels
    if below or right:
        repeated = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE)
        whole = np.asarray(repeated, dtype=pixels.dtype)
    size = (whole.shape[1] // scale, whole.shape[0] // scale)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), dtype=pixels.dtype)


def tiles_of(height: int, width: int, *, multiple_px: int) -> Iterator[Tile]:
    """Yield the tiles of a picture, row by row; their corners are multiples of ``multiple_px``."""
    side_px = max(1, _TILE_PX // multiple_px) * multiple_px
    for top in range(0, height, side_px):
        for left in range(0, width, side_px):
            yield slice(top, min(top + side_px, height)), slice(left, min(left + side_px, width))


def extent(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the lowest and highest of (H, W) values; most tiles of a matte are all 0 or all 1."""
    lowest, highest, _, _ = cv2.minMaxLoc(values)
    return lowest, highest


def enlarge_tile(coarse: NDArray[np.float32], tile: Tile, scale: int) -> NDArray[np.float32]:
    """Interpolate one tile of the picture from a coarse grid, bilinearly.

    Args:
        coarse: (h, w) or (h, w, C), the whole grid.
        tile: Tile of the picture; its corner is a multiple of ``scale``.
        scale: Picture pixels per grid pixel, on each axis.
    """
    rows, columns = tile
    if scale == 1:
        return coarse[tile]
    (top, bottom), (left, right) = (_around(side, scale) for side in tile)
    height, width = coarse.shape[:2]
    # One grid pixel more on each side; at the picture's border resizing repeats the last one instead.
    above, before = max(top - 1, 0), max(left - 1, 0)
    surroundings = coarse[above : min(bottom + 1, height), before : min(right + 1, width)]
    size = (surroundings.shape[1] * scale, surroundings.shape[0] * scale)
    enlarged = np.asarray(cv2.resize(surroundings, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    first_row, first_column = rows.start - above * scale, columns.start - before * scale
    return enlarged[
        first_row : first_row + rows.stop - rows.start,
        first_column : first_column + columns.stop - columns.start,
    ]


def _around(side: slice, scale: int) -> tuple[int, int]:
    return side.start // scale, -(-side.stop // scale)

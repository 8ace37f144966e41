"""Tiles: coarse grids over a picture, and the tiles in which full-resolution work is done.

A coarse grid has one pixel for each ``scale`` × ``scale`` block of the picture. Any tile whose corner lies on
a block corner can therefore be interpolated from the few coarse pixels around it, exactly as the whole
picture would be.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Tile: TypeAlias = tuple[slice, slice]
_Scalar = TypeVar("_Scalar", np.uint8, np.float32)

_TILE_PX = 128  # a tile's arrays stay in the second-level cache, and below ``MAPPED_FROM_BYTES``


def shrink(pixels: NDArray[_Scalar], scale: int) -> NDArray[_Scalar]:
    """Average (H, W) or (H, W, C) pixels by blocks; blocks over the edge repeat the last row or column."""
    return shrink_sides(pixels, scale, scale)


def shrink_sides(pixels: NDArray[_Scalar], down: int, right: int) -> NDArray[_Scalar]:
    """Average (H, W) or (H, W, C) pixels by blocks of ``down`` rows and ``right`` columns.

    Blocks over the edge repeat the last row or column; only they are copied for it, not the picture.
    """
    if down == right == 1:
        return pixels
    height, width = pixels.shape[:2]
    shrunk = np.empty((-(-height // down), -(-width // right), *pixels.shape[2:]), pixels.dtype)
    for top, bottom in _whole_and_rest(height, down):
        for left, end in _whole_and_rest(width, right):
            part, below, after = pixels[top:bottom, left:end], (top - bottom) % down, (left - end) % right
            if below or after:
                part = np.asarray(
                    cv2.copyMakeBorder(part, 0, below, 0, after, cv2.BORDER_REPLICATE), pixels.dtype
                )
            size = (part.shape[1] // right, part.shape[0] // down)
            row, column = top // down, left // right
            averaged = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            shrunk[row : row + size[1], column : column + size[0]] = averaged.reshape(
                size[1], size[0], *pixels.shape[2:]
            )
    return shrunk


def _whole_and_rest(side: int, block: int) -> list[tuple[int, int]]:
    """Return the part of a side that consists of whole blocks, and the rest, without empty parts."""
    whole = side - side % block
    return [(start, stop) for start, stop in ((0, whole), (whole, side)) if start < stop]


def side_of_tiles(multiple_px: int) -> int:
    """Return the side of the tiles whose corners are multiples of ``multiple_px``, in pixels."""
    return max(1, _TILE_PX // multiple_px) * multiple_px


def surroundings(tile: Tile, height: int, width: int, *, reach: int, scale: int) -> Tile:
    """Return a part of a picture with ``reach`` blocks more on each side, ending at block or picture edges.

    Args:
        tile: The part of the picture.
        height: Of the picture, in pixels.
        width: Likewise.
        reach: In blocks.
        scale: Side of a block, in pixels.
    """
    rows, columns = (
        slice(
            max(0, part.start // scale - reach) * scale, min(side, (-(-part.stop // scale) + reach) * scale)
        )
        for part, side in zip(tile, (height, width), strict=True)
    )
    return rows, columns


def tiles_of(height: int, width: int, *, multiple_px: int) -> Iterator[Tile]:
    """Yield the tiles of a picture, row by row; their corners are multiples of ``multiple_px``."""
    side_px = side_of_tiles(multiple_px)
    for top in range(0, height, side_px):
        for left in range(0, width, side_px):
            yield slice(top, min(top + side_px, height)), slice(left, min(left + side_px, width))


def extent(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the lowest and highest of (H, W) values; most tiles of a matte are all 0 or all 1."""
    lowest, highest, _, _ = cv2.minMaxLoc(values)
    return lowest, highest


def covering(mask: NDArray[np.uint8], multiple_px: int) -> Tile | None:
    """Return the smallest part of a tile that covers a mask, ``None`` if the mask is 0 everywhere.

    Args:
        mask: (H, W), of the tile.
        multiple_px: The part's first row and column are multiples of it.
    """
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    first_row, first_column = top // multiple_px * multiple_px, left // multiple_px * multiple_px
    return slice(first_row, top + height), slice(first_column, left + width)


def moved(part: Tile, down: int, right: int) -> Tile:
    """Return a part of a picture in the coordinates of another origin."""
    rows, columns = part
    return slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right)


def enlarge_tile(coarse: NDArray[np.float32], tile: Tile, scale: int) -> NDArray[np.float32]:
    """Interpolate one tile of the picture from a coarse grid, bilinearly.

    Args:
        coarse: (h, w) or (h, w, C), the whole grid.
        tile: Tile of the picture; its corner is a multiple of ``scale``.
        scale: Picture pixels per grid pixel, on each axis.
    """
    return _enlarged([coarse], tile, scale)[0]


def enlarge_planes(
    planes: Sequence[NDArray[np.float32]], tile: Tile, scale: int
) -> list[NDArray[np.float32]]:
    """Interpolate one tile of the picture from each plane (h, w) of a coarse grid, as ``enlarge_tile``.

    Planes are three times as fast as interleaved channels that are split afterwards.
    """
    return _enlarged(planes, tile, scale)


def _enlarged(grids: Sequence[NDArray[np.float32]], tile: Tile, scale: int) -> list[NDArray[np.float32]]:
    """Interpolate a tile from several grids of one size."""
    if scale == 1:
        return [grid[tile].copy() for grid in grids]
    rows, columns = tile
    (top, bottom), (left, right) = (_around(side, scale) for side in tile)
    height, width = grids[0].shape[:2]
    # One grid pixel more on each side; at the picture's border resizing repeats the last one instead.
    above, before = max(top - 1, 0), max(left - 1, 0)
    around = slice(above, min(bottom + 1, height)), slice(before, min(right + 1, width))
    size = (around[1].stop - before) * scale, (around[0].stop - above) * scale
    first_row, first_column = rows.start - above * scale, columns.start - before * scale
    within = (
        slice(first_row, first_row + rows.stop - rows.start),
        slice(first_column, first_column + columns.stop - columns.start),
    )
    enlarged = (cv2.resize(grid[around], size, interpolation=cv2.INTER_LINEAR) for grid in grids)
    return [np.asarray(grid, np.float32)[within] for grid in enlarged]


def _around(side: slice, scale: int) -> tuple[int, int]:
    return side.start // scale, -(-side.stop // scale)

"""Resample: scales pictures in strips of rows, and only the rows that the caller requests.

Strategy: scaling is one matrix for the columns and another for the rows. OpenCV scales the columns, since it
scales a strip to another width as it would the whole picture; this module mixes the rows, at any fraction of
a row. A part of an enlarged picture thus never needs the whole, and no array of its size is held in float.

A side that grows is interpolated linearly between pixel centres, a side that shrinks is area-averaged.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.progress import Check, no_check

STRIP_VALUES = 1 << 15
"""Values in a strip: an eighth of a megabyte of floats."""
SHARING_ROWS = 4
"""Minimum rows of a strip where neighbouring strips share a row or two."""

_Float = NDArray[np.float32]
_Positions = NDArray[np.float64]


def strips_of(
    height: int, row_values: int, *, values: int = STRIP_VALUES, min_rows: int = 1
) -> Iterator[slice]:
    """Yield strips of a picture's rows that are small enough for their temporaries to stay in the CPU cache.

    Args:
        height: Of the picture.
        row_values: Values in one row.
        values: Values in one strip.
        min_rows: Minimum height of a strip, whatever ``values`` is.
    """
    rows = max(min_rows, values // max(1, row_values))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def centres(new: slice, *, old_rows: int, new_rows: int) -> _Positions:
    """Return the positions of a scaled picture's rows, by their centres, among the rows of the old one."""
    positions = (np.arange(new.start, new.stop) + 0.5) * (old_rows / new_rows) - 0.5
    return np.clip(positions, 0, old_rows - 1)


def enlarged_rows(
    pixels: NDArray[np.uint8], height: int, requested: slice, *, width: int, check: Check = no_check
) -> NDArray[np.uint8]:
    """Return some rows of a picture enlarged to (height, width), equal to those of the whole enlargement.

    Args:
        pixels: (h, w, C), not larger than (height, width) on either side.
        height: Of the whole enlarged picture.
        requested: The rows to return.
        width: Of the enlarged picture.
        check: Called for each strip.
    """
    around = _around(requested, pixels.shape[0], height)
    wide = np.asarray(cv2.resize(pixels[around], (width, around.stop - around.start)), np.uint8)
    enlarged = np.empty((requested.stop - requested.start, width, pixels.shape[2]), np.uint8)
    wide = wide.reshape(-1, width, pixels.shape[2])
    for strip in strips_of(len(enlarged), width * pixels.shape[2]):
        check()
        rows = slice(requested.start + strip.start, requested.start + strip.stop)
        positions = centres(rows, old_rows=pixels.shape[0], new_rows=height) - around.start
        enlarged[strip] = np.rint(interpolated(wide, positions))
    return enlarged


def scaled_rows(strip: _Float, new: slice, *, old: slice, old_rows: int, new_rows: int, width: int) -> _Float:
    """Return some rows of a picture scaled to (new_rows, width).

    Args:
        strip: (n, w, C), the rows ``old`` of the picture, as ``rows_for(new, …)`` returns them.
        new: The rows to return.
        old: The rows of the picture that ``strip`` holds.
        old_rows: Height of the picture.
        new_rows: Height of the scaled picture.
        width: Width of the scaled picture.
    """
    interpolation = cv2.INTER_AREA if width < strip.shape[1] else cv2.INTER_LINEAR
    wide = np.asarray(cv2.resize(strip, (width, len(strip)), interpolation=interpolation), np.float32)
    if new_rows >= old_rows:
        return interpolated(wide, centres(new, old_rows=old_rows, new_rows=new_rows) - old.start)
    edges = np.arange(new.start, new.stop + 1) * (old_rows / new_rows) - old.start
    return _averaged(wide, np.clip(edges, 0, len(wide)))


def rows_for(new: slice, *, old_rows: int, new_rows: int) -> slice:
    """Return the rows of a picture that some rows of its scaled version are computed from."""
    if new_rows >= old_rows:
        return _around(new, old_rows, new_rows)
    first, last = new.start * old_rows // new_rows, -(-new.stop * old_rows // new_rows)
    return slice(first, min(last, old_rows))


def interpolated(rows: NDArray[np.uint8] | _Float, positions: _Positions) -> _Float:
    """Interpolate between rows (n, …) at positions in [0, n - 1]: (m, …) float32."""
    above = positions.astype(np.intp)
    share = (positions - above).astype(np.float32).reshape(-1, *[1] * (rows.ndim - 1))
    upper = rows[above].astype(np.float32, copy=False)
    lower = rows[np.minimum(above + 1, len(rows) - 1)].astype(np.float32, copy=False)
    lower -= upper
    lower *= share
    upper += lower
    return upper


def _around(new: slice, old_rows: int, new_rows: int) -> slice:
    first, last = centres(new, old_rows=old_rows, new_rows=new_rows)[[0, -1]]
    return slice(int(first), min(int(last) + 2, old_rows))


def _averaged(rows: _Float, edges: _Positions) -> _Float:
    """Average the rows between each edge and the next, at least a row apart; partial rows count in part."""
    means = np.empty((len(edges) - 1, *rows.shape[1:]), np.float32)
    for mean, begin, end in zip(means, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        first, last = int(begin), min(-int(-end // 1), len(rows))
        np.sum(rows[first:last], axis=0, out=mean)
        mean -= np.float32(begin - first) * rows[first]
        mean -= np.float32(last - end) * rows[last - 1]
        mean /= np.float32(end - begin)
    return means

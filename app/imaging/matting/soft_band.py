"""Soft band: finds the tiles where a saliency map is sure of neither background nor subject.

Strategy: an enlarged map lies between the values that it is interpolated from. A look at the small map thus
shows which tiles of the picture are all background or all subject, which is most of them; only the others are
enlarged. The map of the picture's size never exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Mask, SaliencyMap
from app.imaging.matting.saliency import resize_saliency
from app.imaging.resample import centres
from app.imaging.tiles import Tile, shrink_sides, side_of_tiles

SURE_BACKGROUND = 0.02  # below it the enlarged map becomes 0
SURE_FOREGROUND = 0.98  # above it, 1


@dataclass(frozen=True, slots=True)
class SoftBand:
    """The tiles of a picture by what an enlarged map says of them.

    Attributes:
        saliency: The map, (h, w) in [0, 1], not larger than the picture on either side.
        height: Of the picture, in pixels.
        width: Likewise.
        side_px: Of the tiles.
        is_soft: Which tiles may contain pixels of the soft band, (rows of tiles, columns of tiles).
        is_subject: Which of the others are all subject.
    """

    saliency: SaliencyMap
    height: int
    width: int
    side_px: int
    is_soft: Mask
    is_subject: Mask

    def box(self) -> Tile | None:
        """Return the smallest box of tiles around the soft ones, in pixels; ``None`` if no tile is soft."""
        if not self.is_soft.any():
            return None
        rows, columns = (np.flatnonzero(self.is_soft.any(axis=axis)) * self.side_px for axis in (1, 0))
        return (
            slice(int(rows[0]), min(int(rows[-1]) + self.side_px, self.height)),
            slice(int(columns[0]), min(int(columns[-1]) + self.side_px, self.width)),
        )

    def sure_alpha(self) -> AlphaMatte:
        """Return a matte of the picture's size: 1 in the tiles that are all subject, 0 elsewhere."""
        alpha = np.zeros((self.height, self.width), np.float32)  # the system's zeros, written when touched
        for row, is_subject in enumerate(self.is_subject):
            bounds = np.flatnonzero(np.diff(np.concatenate([[False], is_subject, [False]])))
            for first, last in bounds.reshape(-1, 2).tolist():
                alpha[self._tile(row, first, last)] = 1
        return alpha

    def soft_tiles(self) -> Iterator[tuple[Tile, SaliencyMap]]:
        """Yield the soft tiles, each with the enlarged map."""
        for row, is_soft in enumerate(self.is_soft):
            if not is_soft.any():
                continue
            rows = self._tile(row, 0, 1)[0]
            above, share = _positions(rows, len(self.saliency), self.height)
            top, bottom = int(above[0]), min(int(above[-1]) + 2, len(self.saliency))
            # A strip is scaled to another width as the whole map would be.
            wide = resize_saliency(self.saliency[top:bottom], bottom - top, self.width)
            for column in np.flatnonzero(is_soft).tolist():
                tile = self._tile(row, column, column + 1)
                yield tile, _interpolated(wide[:, tile[1]], above - top, share[:, None])

    def _tile(self, row: int, first: int, last: int) -> Tile:
        top, left, right = (place * self.side_px for place in (row, first, last))
        return slice(top, min(top + self.side_px, self.height)), slice(left, min(right, self.width))


def find_soft_band(saliency: SaliencyMap, height: int, width: int, *, multiple_px: int) -> SoftBand:
    """Find the soft tiles of a picture.

    Args:
        saliency: Stretched map in [0, 1] of any size; it is stretched over the whole picture.
        height: Of the picture, in pixels.
        width: Likewise.
        multiple_px: The side of the tiles is a multiple of it.
    """
    shrunk = saliency
    if saliency.shape[0] > height or saliency.shape[1] > width:
        shrunk = resize_saliency(saliency, min(saliency.shape[0], height), min(saliency.shape[1], width))
    side_px = side_of_tiles(multiple_px)
    lowest, highest = shrunk, shrunk
    for axis, side in ((0, height), (1, width)):
        starts = _starts(shrunk.shape[axis], side, side_px)
        padding = [(0, 1) if index == axis else (0, 0) for index in (0, 1)]
        lowest = np.minimum.reduceat(np.pad(lowest, padding), starts, axis=axis)
        highest = np.maximum.reduceat(np.pad(highest, padding), starts, axis=axis)
        every_other = (
            (slice(None, None, 2), slice(None)) if axis == 0 else (slice(None), slice(None, None, 2))
        )
        lowest, highest = lowest[every_other], highest[every_other]
    is_subject = lowest > SURE_FOREGROUND
    return SoftBand(shrunk, height, width, side_px, (highest >= SURE_BACKGROUND) & ~is_subject, is_subject)


def shrink_enlarged(saliency: SaliencyMap, height: int, width: int, scale: int) -> SaliencyMap:
    """Average a map by blocks as if it were enlarged to the picture's size, one axis after the other.

    Returns:
        (ceil(height / scale), ceil(width / scale)) float32.
    """
    rows, columns = (min(old, new) for old, new in zip(saliency.shape, (height, width), strict=True))
    narrow = resize_saliency(saliency, rows, columns)
    tall = shrink_sides(resize_saliency(narrow, height, columns), scale, 1)
    return shrink_sides(resize_saliency(tall, len(tall), width), 1, scale)


def _starts(old_side: int, new_side: int, side_px: int) -> NDArray[np.intp]:
    """Return the first and last position, among a map's rows, of each row of tiles, for ``reduceat``."""
    bounds: list[int] = []
    for start in range(0, new_side, side_px):
        above, _ = _positions(slice(start, min(start + side_px, new_side)), old_side, new_side)
        bounds += int(above[0]), min(int(above[-1]) + 2, old_side)
    return np.asarray(bounds, np.intp)


def _positions(new: slice, old_rows: int, new_rows: int) -> tuple[NDArray[np.intp], SaliencyMap]:
    """Return the row above each enlarged row's centre and the share of the next, as ``cv2.resize`` does."""
    positions = centres(new, old_rows=old_rows, new_rows=new_rows)
    above = positions.astype(np.intp)
    return above, (positions - above).astype(np.float32)


def _interpolated(wide: SaliencyMap, above: NDArray[np.intp], share: SaliencyMap) -> SaliencyMap:
    """Interpolate between rows (n, w), in the order of ``cv2.resize``."""
    tile = wide.take(above, axis=0)
    tile *= 1 - share
    lower = wide.take(np.minimum(above + 1, len(wide) - 1), axis=0)
    lower *= share
    tile += lower
    return tile

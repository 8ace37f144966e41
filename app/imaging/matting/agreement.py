"""Agreement: decides whether a second run of the network, on a part of a picture, has the same subject.

Strategy: the second run sees more of the subject and less of its surroundings. It may drop what the first run
wrongly included, or half of the subject, and is as sure of one as of the other. Where the two subjects differ
much, the picture's colours decide: what the second run drops must look like the background of both, and what
it adds like the subject of both. The more the first run doubts and the second does not, the less the colours
must say; if the second is unsure and doubts more, they are not asked. All of it is done at the size of a
small network's map.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Mask, NetworkInput, SaliencyMap
from app.imaging.matting.saliency import resize_saliency

SIDE_PX = 320
"""Largest side of the maps that are compared."""
_SUBJECT_FROM, _SURE_BACKGROUND = 0.5, 0.1
_SAME_FROM = 0.93  # intersection over union, from which the runs agree (docs/quality.md)
_SURER_TO = 0.6  # doubt of a surer second map, as a fraction of the first one's
_UNSURE_FROM, _LOST_FROM = 0.4, 0.7  # doubt of a map; a surer second one replaces a lost first one anyway
_LEVELS = 16  # of each colour in a histogram
_RARE = 1e-5  # share of pixels below which a colour says nothing
_MAX_EVIDENCE = 3.0  # of one pixel, a natural logarithm
_MIN_EVIDENCE = 0.5  # for the second map, the mean of the pixels in which the two differ; 0 if it is surer

_Float = NDArray[np.float64]


def has_same_subject(first: SaliencyMap, second: SaliencyMap, rgb: NetworkInput) -> bool:
    """Return whether a second map may be used.

    Args:
        first: The first map of the part, (h, w) in [0, 1].
        second: The second map of it, of the same size.
        rgb: The part of the picture, at any size.
    """
    rows, columns = (min(side, SIDE_PX) for side in second.shape)
    first, second = (resize_saliency(each, rows, columns) for each in (first, second))
    before, after = first >= _SUBJECT_FROM, second >= _SUBJECT_FROM
    both, either = before & after, before | after
    if np.count_nonzero(both) >= _SAME_FROM * np.count_nonzero(either):
        return bool(either.any())
    background = (first < _SURE_BACKGROUND) & (second < _SURE_BACKGROUND)
    if not both.any() or not background.any():
        return False
    doubt, second_doubt = _doubt(first), _doubt(second)
    if second_doubt > max(doubt, _UNSURE_FROM):
        return False
    is_surer = second_doubt <= _SURER_TO * doubt
    if is_surer and doubt >= _LOST_FROM:
        return True
    small = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA)
    likeness = _likeness(np.asarray(small, np.uint8), both, background)
    evidence = np.where(after, likeness, -likeness)[before != after]
    return bool(evidence.mean() >= (0 if is_surer and doubt >= _UNSURE_FROM else _MIN_EVIDENCE))


def _doubt(saliency: SaliencyMap) -> float:
    """Return the unsure area of a map (4s(1 - s), 1 at half) as a fraction of its subject's area."""
    unsure = float(np.sum(4 * saliency * (1 - saliency), dtype=np.float64))
    return unsure / max(1, int(np.count_nonzero(saliency >= _SUBJECT_FROM)))


def _likeness(rgb: NetworkInput, subject: Mask, background: Mask) -> _Float:
    """Return for each pixel how much more frequent its colour is in the subject than in the background."""
    levels = (rgb // np.uint8(256 // _LEVELS)).astype(np.intp)
    colours = (levels[:, :, 0] * _LEVELS + levels[:, :, 1]) * _LEVELS + levels[:, :, 2]
    of_subject, of_background = (_frequencies(colours[mask]) for mask in (subject, background))
    evidence = np.log(of_subject + _RARE) - np.log(of_background + _RARE)
    return np.asarray(np.clip(evidence, -_MAX_EVIDENCE, _MAX_EVIDENCE)[colours], np.float64)


def _frequencies(colours: NDArray[np.intp]) -> _Float:
    """Return the share of each colour, smoothed over its neighbours in the histogram."""
    shares = np.bincount(colours, minlength=_LEVELS**3).reshape((_LEVELS,) * 3) / len(colours)
    for axis in range(3):
        padded = np.moveaxis(np.pad(shares, [(int(axis == other),) * 2 for other in range(3)]), axis, 0)
        shares = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 0, axis)
    return shares.ravel()

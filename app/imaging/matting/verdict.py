"""Verdict: describes a picture's segmentation by a few figures of its saliency map."""

from dataclasses import dataclass

import numpy as np

from app.arrays import AlphaMatte, Mask, SaliencyMap
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of

FOREGROUND_THRESHOLD = 0.5  # minimum value of a pixel that counts as subject
VISIBLE_FROM = 0.1  # minimum value of a visible pixel: the box includes soft hair, but no haze
UNCERTAIN_FROM = 0.15  # for a network whose manifest names no other threshold

_STRIP_PX = 1 << 20  # a network's map, or a part of a client's mask


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures that help a client judge a result without looking at it.

    Attributes:
        coverage: Fraction of the picture that is subject, 0 to 1.
        uncertainty: How undecided the map is where it is not 0, from 0 (all values 0 or 1) to 1 (all 0.5).
        box: (left, top, right, bottom) in source pixels, right and bottom exclusive, around all visible
            pixels; ``None`` if there are none.
        touches_border: A visible pixel lies at the picture's edge, so the subject may be cut off.
        is_empty: The network found no subject.
        uncertain_from: Uncertainty from which the network's results are called uncertain.
    """

    coverage: float
    uncertainty: float
    box: tuple[int, int, int, int] | None
    touches_border: bool
    is_empty: bool
    uncertain_from: float = UNCERTAIN_FROM

    @property
    def label(self) -> str:
        """The verdict in one word: ``no_foreground``, ``uncertain`` or ``ok``."""
        if self.is_empty:
            return "no_foreground"
        return "uncertain" if self.uncertainty >= self.uncertain_from else "ok"


def judge(
    saliency: SaliencyMap | AlphaMatte,
    height: int,
    width: int,
    *,
    is_empty: bool = False,
    uncertain_from: float = UNCERTAIN_FROM,
    check: Check = no_check,
) -> Verdict:
    """Judge a picture by its stretched map (cheap, at the network's size) or by its alpha matte.

    Args:
        saliency: (h, w) in [0, 1], of any size.
        height: Of the source picture, in pixels; the box is in its coordinates, rounded outwards.
        width: Likewise.
        is_empty: The raw map shows no subject, whatever the stretched map looks like.
        uncertain_from: Threshold of the network.
        check: Called for each million pixels of the map.
    """
    is_visible = saliency >= VISIBLE_FROM
    if is_empty or not is_visible.any():
        return Verdict(coverage=0.0, uncertainty=0.0, box=None, touches_border=False, is_empty=True)
    return Verdict(
        coverage=float(np.count_nonzero(saliency >= FOREGROUND_THRESHOLD) / saliency.size),
        uncertainty=_uncertainty(saliency, check),
        box=_box(is_visible, height, width),
        touches_border=any(bool(edge.any()) for edge in _edges(is_visible)),
        is_empty=False,
        uncertain_from=uncertain_from,
    )


def _uncertainty(saliency: SaliencyMap, check: Check) -> float:
    """Return the mean of 1 - |2s - 1| (1 at s = 0.5, 0 at 0 and 1), weighted by the map s itself."""
    weighted_sum = total_weight = 0.0
    for rows in strips_of(saliency.shape[0], saliency.shape[1], values=_STRIP_PX):
        check()
        strip = saliency[rows]
        uncertainty = 1 - np.abs(2 * strip - 1)
        weighted_sum += float(np.sum(strip * uncertainty))
        total_weight += float(np.sum(strip))
    return weighted_sum / total_weight


def _box(mask: Mask, height: int, width: int) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        int(columns[0]) * width // mask.shape[1],
        int(rows[0]) * height // mask.shape[0],
        -(-(int(columns[-1]) + 1) * width // mask.shape[1]),
        -(-(int(rows[-1]) + 1) * height // mask.shape[0]),
    )


def _edges(mask: Mask) -> tuple[Mask, Mask, Mask, Mask]:
    return mask[0], mask[-1], mask[:, 0], mask[:, -1]

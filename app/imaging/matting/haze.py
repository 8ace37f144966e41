"""Haze: decides the unsure regions of a saliency map as wholes, so that a cutout has no ghosts and no holes.

Strategy: a network that is in doubt about a thing gives all of it a value in between, which a cutout shows as
a ghost or as a see-through body. Four steps decide such regions, at the size of a small network's map, so
that the cost does not grow with the picture or the map.

1. A graph cut on the picture's colours assigns each unsure pixel to the subject or to the background. A part
   of the subject without a sure pixel is a ghost, a hole without a sure pixel is none.
2. Further from the contour than a band, the map is pulled to the side that it was assigned to; within the
   band it keeps its values, from which the matting makes the edge.
3. The band is wider if the map itself has the fine pattern of hair. A network that blurs hair leaves nothing
   that a wide band could keep.
4. It is wider around threads and gaps of one or two pixels, over a wide area: those are a net, and haze is
   smooth.

A finer map is only moved where it is unsure: the two bounds of its values are enlarged, never the map.

References:
    Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import Grey, Mask, NetworkInput, SaliencyMap
from app.imaging.matting.guided_filter import fit_colour_model
from app.imaging.matting.saliency import resize_saliency
from app.imaging.progress import Check, no_check
from app.imaging.resample import strips_of

SIDE_PX = 320
"""Largest side of the map on which regions are decided: that of a U²-Net."""

_SUBJECT_FROM = 0.5
_SURE_BACKGROUND, _SURE_SUBJECT = 0.05, 0.9  # what the graph cut may not change
_PART_NEEDS, _HOLE_NEEDS = 0.9, 0.1  # a value that a part of the subject, or a hole in it, must reach
_EDGE_PX = 5  # width from which an unsure strip is a region
_REACH_PX = 3  # distance from a region to which its strip is decided with it
_LEARNT_SHRINK = 3  # of the picture from which the cut learns colours
_MIN_SAMPLES = 16  # pixels from which the cut learns the colours of a side
_BAND_PX, _FADE_PX = 2.0, 3.0  # of the map on which regions are decided
_JUDGED_FROM_PX = 4.0  # distance from the contour of the unsure pixels that show whether it is hair
_HAIR_FROM, _HAIR_TO = 0.81, 0.85  # explained share of the map: below it haze, above it hair
_ALL_KEPT = 0.999  # at which the band is wider than the map
_WINDOW_RADIUS_PX, _COLOUR_BLUR, _EPSILON = 6, 1.0, 1e-4  # of the fit of the map to the colours
_FLAT = 1e-4  # variance below which a window has no pattern to explain
_PRIOR_PX = 50  # pixels that count as unexplained, so that a few cannot widen the band
_THREAD_PX = 3  # window in which a thread or a gap is lost
_NET_RADIUS_PX, _NET_PRIOR_PX = 40, 300  # of a pixel's surroundings, and pixels there that count as smooth
_NET_FROM, _NET_TO = 0.03, 0.04  # mean height of threads and gaps: below it haze, above it a net
_FAR_PX = 1e6
_SEED = 0

_Float = NDArray[np.float32]


def remove_haze(
    saliency: SaliencyMap, network_input: NetworkInput, *, check: Check = no_check
) -> SaliencyMap:
    """Decide the unsure regions of a map, except near its contour.

    Args:
        saliency: Stretched map in [0, 1] of any size.
        network_input: The picture that it is of, at any size.
        check: Called between the steps.

    Returns:
        A new map of the same size. A value is equal to that of ``saliency``, or nearer to 0 or 1 on the side
        that its region was assigned to; a sure value of the other side stays.
    """
    rows, columns = (min(side, SIDE_PX) for side in saliency.shape)
    small = resize_saliency(saliency, rows, columns)
    rgb = np.asarray(cv2.resize(network_input, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    check()
    is_subject = _without_doubtful_parts(_cut(small, rgb), small)
    check()
    inside_px = _signed_distance_px(is_subject)
    band_px = _band_px(small, rgb, inside_px, check)
    pull = np.clip((np.abs(inside_px) - band_px) / np.float32(_FADE_PX), 0, 1)
    return _pulled(saliency, np.copysign(pull, inside_px), check)


def _cut(saliency: SaliencyMap, rgb: NetworkInput) -> Mask:
    """Assign each pixel to the subject or not, by a graph cut in the unsure regions.

    An unsure strip no wider than the edge of a sharp map is no region, and is divided at half; most maps
    have nothing else. The colours of both sides are learnt at a third of the size, in a ninth of the time,
    and the cut is made in the box around the regions. The learning starts from random clusters: OpenCV has a
    random generator for each thread, which is set before, so that a picture has one result on all threads.
    Takes tens of milliseconds, without a check.
    """
    labels = _labels(saliency)
    is_subject = _is_subject(labels)
    is_open = _regions((labels == cv2.GC_PR_FGD) | (labels == cv2.GC_PR_BGD))
    size = max(1, saliency.shape[1] // _LEARNT_SHRINK), max(1, saliency.shape[0] // _LEARNT_SHRINK)
    small = _labels(np.asarray(cv2.resize(saliency, size, interpolation=cv2.INTER_AREA), np.float32))
    samples = np.count_nonzero(_is_subject(small))
    if not is_open.any() or not _MIN_SAMPLES <= samples <= small.size - _MIN_SAMPLES:
        return is_subject
    colours = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))  # 5 Gaussians each
    cv2.setRNGSeed(_SEED)
    cv2.grabCut(colours, small, (0, 0, 0, 0), *models, 1, cv2.GC_INIT_WITH_MASK)
    part = _box(is_open, reach_px=1)
    sure = np.where(is_subject, cv2.GC_FGD, cv2.GC_BGD)
    within = np.where(is_open, labels, sure)[part].astype(np.uint8)
    cv2.grabCut(np.ascontiguousarray(rgb[part]), within, (0, 0, 0, 0), *models, 1, cv2.GC_EVAL_FREEZE_MODEL)
    is_subject[part] = _is_subject(within)
    return is_subject


def _regions(is_unsure: Mask) -> Mask:
    """Return the unsure pixels in regions that are wider than an edge, or close to such a region."""
    edge, reach = (np.ones((side_px, side_px), np.uint8) for side_px in (_EDGE_PX, 2 * _REACH_PX + 1))
    wide = cv2.morphologyEx(is_unsure.astype(np.uint8), cv2.MORPH_OPEN, edge)
    return np.asarray((cv2.dilate(wide, reach) > 0) & is_unsure, np.bool_)


def _labels(saliency: SaliencyMap) -> Grey:
    """Return what the graph cut knows of each pixel."""
    labels = np.where(saliency >= _SUBJECT_FROM, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[saliency < _SURE_BACKGROUND] = cv2.GC_BGD
    labels[saliency > _SURE_SUBJECT] = cv2.GC_FGD
    return labels


def _is_subject(labels: Grey) -> Mask:
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), np.bool_)


def _without_doubtful_parts(is_subject: Mask, saliency: SaliencyMap) -> Mask:
    """Remove the parts of the subject, then fill the holes in it, of which the map is nowhere sure."""
    parts = _components_with(is_subject, saliency >= _PART_NEEDS, connectivity=8)
    if not parts.any():
        return parts
    return ~_components_with(~parts, saliency <= _HOLE_NEEDS, connectivity=4)


def _components_with(mask: Mask, is_sure: Mask, *, connectivity: int) -> Mask:
    """Return the components of a mask that contain a sure pixel."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    is_kept = np.zeros(count, np.bool_)
    is_kept[labels[is_sure & mask]] = True
    return np.asarray(is_kept[labels], np.bool_)


def _signed_distance_px(is_subject: Mask) -> _Float:
    """Return the distance to the contour, negative outside; a million if there is no contour."""
    inside, outside = (
        np.minimum(cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5), np.float32(_FAR_PX))
        for side in (is_subject, ~is_subject)
    )
    return np.asarray(inside - outside, np.float32)


def _band_px(saliency: SaliencyMap, rgb: NetworkInput, inside_px: _Float, check: Check) -> _Float:
    """Return for each pixel how far from the contour the map keeps its values."""
    is_soft = (saliency > _SURE_BACKGROUND) & (saliency < 1 - _SURE_BACKGROUND)
    is_soft &= np.abs(inside_px) > _JUDGED_FROM_PX
    if not is_soft.any():
        return np.full_like(saliency, _BAND_PX)
    kept = np.maximum(_hair(saliency, rgb, is_soft, check), _nets(saliency, is_soft))
    return np.asarray(_BAND_PX / (1 - np.minimum(kept, np.float32(_ALL_KEPT))), np.float32)


def _hair(saliency: SaliencyMap, rgb: NetworkInput, is_soft: Mask, check: Check) -> float:
    """Return from 0 to 1 whether the map shows hair.

    Then it is nearly a linear function of the colours in each window, as the true alpha is. Haze is not,
    because the network paints it over the pattern of the picture.
    """
    part = _box(is_soft, reach_px=3 * _WINDOW_RADIUS_PX + round(4 * _COLOUR_BLUR))
    explained = _explained(saliency[part], rgb[part], check)[is_soft[part]]
    score = float(explained.sum(dtype=np.float64)) / (explained.size + _PRIOR_PX)
    return min(max((score - _HAIR_FROM) / (_HAIR_TO - _HAIR_FROM), 0.0), 1.0)


def _nets(saliency: SaliencyMap, is_soft: Mask) -> _Float:
    """Return from 0 to 1 for each pixel whether the map around it shows a net.

    An opening loses threads and a closing loses gaps. The colours behind a net rarely explain it.
    """
    window = np.ones((_THREAD_PX, _THREAD_PX), np.uint8)
    opened, closed = (cv2.morphologyEx(saliency, kind, window) for kind in (cv2.MORPH_OPEN, cv2.MORPH_CLOSE))
    soft = is_soft.astype(np.float32)
    height = _sum_around((closed - opened) * soft) / (_sum_around(soft) + np.float32(_NET_PRIOR_PX))
    share = (height - np.float32(_NET_FROM)) / np.float32(_NET_TO - _NET_FROM)
    return np.asarray(np.clip(share, 0, 1), np.float32)


def _sum_around(plane: _Float) -> _Float:
    size = (2 * _NET_RADIUS_PX + 1,) * 2
    summed = cv2.boxFilter(plane, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(summed, np.float32)


def _box(mask: Mask, *, reach_px: int) -> tuple[slice, slice]:
    """Return the smallest part that contains all of a mask and ``reach_px`` more on each side."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    rows = slice(max(0, top - reach_px), top + height + reach_px)
    return rows, slice(max(0, left - reach_px), left + width + reach_px)


def _explained(saliency: SaliencyMap, rgb: NetworkInput, check: Check) -> _Float:
    """Return the share of the map's variance in each window that its colours explain; 0 where it is flat."""
    colours = cv2.GaussianBlur(rgb.astype(np.float32) / np.float32(255), (0, 0), _COLOUR_BLUR)
    guide = np.asarray(colours, np.float32)
    model = fit_colour_model(guide, saliency, radius_px=_WINDOW_RADIUS_PX, epsilon=_EPSILON, check=check)
    fitted = np.einsum("ijc,ijc->ij", model[:, :, :3], guide) + model[:, :, 3]
    left = _average((saliency - fitted) ** 2)
    variance = _average(saliency * saliency) - _average(saliency) ** 2
    return np.asarray(np.clip(1 - left / np.maximum(variance, np.float32(_FLAT)), 0, 1), np.float32)


def _average(plane: _Float) -> _Float:
    side_px = 2 * _WINDOW_RADIUS_PX + 1
    return np.asarray(cv2.blur(plane, (side_px, side_px)), np.float32)


def _pulled(saliency: SaliencyMap, pull: _Float, check: Check) -> SaliencyMap:
    """Move a map towards 1 where ``pull`` is positive, and towards 0 where it is negative.

    ``pull`` bounds the values: from below by itself, from above by 1 plus itself. A finer map may be sure of
    a thread or a gap that ``pull`` is too coarse to show, and such pixels stay.
    """
    enlarged = pull if pull.shape == saliency.shape else resize_saliency(pull, *saliency.shape)
    decided = np.empty_like(saliency)
    for rows in strips_of(*saliency.shape):
        check()
        values, bound = saliency[rows], enlarged[rows]
        raised = np.where(values > _SURE_BACKGROUND, np.maximum(values, bound), values)
        decided[rows] = np.where(values < _SURE_SUBJECT, np.minimum(raised, 1 + bound), raised)
    return decided

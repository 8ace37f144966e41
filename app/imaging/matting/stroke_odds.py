"""Stroke odds: how likely pixels belong to the region that a stroke stands for.

Strategy: the log odds are a sum. It grows with each of these:

- the pixel is near, compared with the size of the nearest stroke;
- a path from the stroke leads to it without large changes of colour;
- its colour is like the nearest stroke's, and rare among the pixels that the path says are something else;
- its alpha so far was undecided.

The weights were fitted by logistic regression to simulated strokes on half of the pictures of the evaluation
(``docs/strokes.md``), and rounded.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Mask
from app.imaging.matting.colour_likeness import colour_distance, colour_frequency
from app.imaging.matting.geodesic import geodesic_distance

_BIAS = -0.9
_ALPHA_WEIGHT, _PATH_WEIGHT, _FREQUENCY_WEIGHT, _COLOUR_WEIGHT, _SIZE_WEIGHT = 0.9, 0.55, 0.5, 0.6, 1.0
_ALPHA_FLOOR, _PATH_FLOOR, _FREQUENCY_FLOOR, _COLOUR_FLOOR, _SIZE_FLOOR = 0.02, 0.02, 1e-4, 0.3, 0.1
_STEP_COST = 0.5  # of a path as long as the picture's longer side, in lightness from black (0) to white (1)
_OTHER_FROM, _OTHER_RANGE = 0.15, 0.3  # path lengths between which a pixel becomes something else

_Float = NDArray[np.float32]


def prior_odds(alpha: AlphaMatte) -> _Float:
    """Return the log odds that pixels are subject, from the matte so far alone."""
    share = (alpha + np.float32(_ALPHA_FLOOR)) / (np.float32(1 + _ALPHA_FLOOR) - alpha)
    return np.asarray(_ALPHA_WEIGHT * np.log(share), np.float32)


def stroke_odds(lab: _Float, seed: Mask, *, painted: Mask, opposite: Mask, wrong: Mask) -> _Float:
    """Return the log odds that pixels belong to the region of the strokes of one kind.

    Args:
        lab: (h, w, 3), CIE L*a*b*.
        seed: (h, w), the painted pixels whose alpha so far is wrong; at least one.
        painted: (h, w), all painted pixels of this kind.
        opposite: (h, w), those of the other kind.
        wrong: (h, w), the pixels whose alpha would be wrong if they belonged to the region.
    """
    distance_px, nearest = _nearest_stroke(painted)
    size_px = np.sqrt(np.maximum(np.bincount(nearest[painted], minlength=int(nearest.max()) + 1), 1))
    path = geodesic_distance(seed, lab / np.float32(100), step_cost=_STEP_COST / max(seed.shape))
    is_other = np.clip((path - _OTHER_FROM) / _OTHER_RANGE, 0, 1) * wrong + opposite
    frequency = colour_frequency(lab, is_other)
    colour = colour_distance(lab, painted, nearest)
    odds = (
        _BIAS
        - _PATH_WEIGHT * np.log(path + _PATH_FLOOR)
        - _FREQUENCY_WEIGHT * np.log(frequency + _FREQUENCY_FLOOR)
        - _COLOUR_WEIGHT * np.log(colour + _COLOUR_FLOOR)
        - _SIZE_WEIGHT * np.log(distance_px / size_px[nearest] + _SIZE_FLOOR)
    )
    return np.asarray(odds, np.float32)


def _nearest_stroke(painted: Mask) -> tuple[_Float, NDArray[np.int32]]:
    """Return the distance of each pixel to the nearest stroke, and the stroke's number."""
    distance_px, nearest = cv2.distanceTransformWithLabels(
        (~painted).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_CCOMP
    )
    return np.asarray(distance_px, np.float32), np.asarray(nearest, np.int32)

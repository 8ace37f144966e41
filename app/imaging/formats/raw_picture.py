"""Stored: a picture as its file keeps it, before any turning and in its own colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import Grey

Colours = NDArray[np.uint8]
"""uint8 (H, W) grey, (H, W, 3) RGB, or (H, W, 4) CMYK with 255 for full ink."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Colours and, where the file has any transparency, the opacity of each pixel; and what was odd."""

    colours: Colours
    own_alpha: Grey | None = None
    warnings: tuple[str, ...] = ()

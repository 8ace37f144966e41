"""Raw picture: a picture as its file stores it, in its own orientation and colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import Grey

Colours = NDArray[np.uint8]
"""uint8 (H, W) grey, (H, W, 3) RGB, or (H, W, 4) CMYK with 255 for full ink."""


@dataclass(frozen=True, slots=True)
class RawPicture:
    """A picture's colours, its own alpha if the file has transparency, and the reader's warnings."""

    colours: Colours
    own_alpha: Grey | None = None
    warnings: tuple[str, ...] = ()

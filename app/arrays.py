"""Arrays: the named array types that modules pass to each other."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rgb: TypeAlias = NDArray[np.uint8]
"""Upright sRGB picture, uint8 (H, W, 3)."""

RgbFloat: TypeAlias = NDArray[np.float32]
"""Upright sRGB picture, float32 (H, W, 3) in [0, 1]."""

NetworkInput: TypeAlias = NDArray[np.uint8]
"""Input of the served graph, uint8 (S, S, 3); batched (N, S, S, 3)."""

SaliencyMap: TypeAlias = NDArray[np.float32]
"""Per-pixel foreground probability at network size, float32 (S, S) in [0, 1]; batched (N, S, S)."""

Mask: TypeAlias = NDArray[np.bool_]
"""Yes or no per pixel, bool (H, W)."""

Trimap: TypeAlias = NDArray[np.uint8]
"""0 background, 128 unknown, 255 foreground, uint8 (H, W)."""

AlphaMatte: TypeAlias = NDArray[np.float32]
"""Opacity per pixel, float32 (H, W) in [0, 1]."""

Grey: TypeAlias = NDArray[np.uint8]
"""One 8-bit channel, uint8 (H, W): a saliency map or an alpha matte, ready to encode."""

Cutout: TypeAlias = NDArray[np.uint8]
"""Foreground colours with straight alpha, uint8 (H, W, 4)."""

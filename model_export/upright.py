"""Upright: an opened picture becomes 8-bit RGB as it is displayed."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def upright_rgb(stored: Image.Image) -> NDArray[np.uint8]:
    """Return a picture, upright, as (H, W, 3) uint8 RGB.

    Pillow makes all values above 255 white when it converts a grey picture of 16 bits; here they are scaled.

    Raises:
        OSError: It cannot be decoded, or has other values than 8 or 16 bits per channel.
    """
    picture = ImageOps.exif_transpose(stored)
    if picture.mode.startswith("I;16"):
        grey = np.rint(np.asarray(picture, np.float64) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise OSError(f"its mode is {picture.mode}; a picture has 8 or 16 bits per channel")
    return np.asarray(picture.convert("RGB"))

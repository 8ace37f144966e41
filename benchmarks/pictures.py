"""Pictures: uploads for the benchmarks, with decoding and matting costs like those of photos."""

import io

import cv2
import numpy as np
from PIL import Image

from app.arrays import Rgb

EXIF_ORIENTATION_TAG = 0x0112


def photo(megapixels: float, seed: int = 0) -> Rgb:
    """Build a 4:3 picture of a round subject with a soft edge in front of clouds, with camera noise."""
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    rng = np.random.default_rng(seed)
    clouds = rng.integers(60, 180, (9, 12, 3), np.uint8)
    rgb = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    centre, radius = (width // 2, height // 2), height // 3
    cv2.circle(rgb, centre, radius, (205, 95, 45), thickness=-1, lineType=cv2.LINE_AA)
    noise = rng.normal(0, 3, (256, 256, 3))
    tiles = -(-height // 256), -(-width // 256), 1
    tiled = np.tile(np.rint(noise).astype(np.int8), tiles)[:height, :width]
    return np.asarray(cv2.add(rgb, tiled, dtype=cv2.CV_8U), np.uint8)


def jpeg_photo(megapixels: float, *, seed: int = 0, quality: int = 85) -> bytes:
    """Build a JPEG upload of ``photo``."""
    encoded = io.BytesIO()
    Image.fromarray(photo(megapixels, seed)).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def upload_of(kind: str, megapixels: float) -> bytes:
    """Build an upload of ``photo``: ``jpeg``, ``turned jpeg``, ``png with alpha`` or ``webp``."""
    if kind == "jpeg":
        return jpeg_photo(megapixels)
    picture = Image.fromarray(photo(megapixels))
    encoded = io.BytesIO()
    if kind == "turned jpeg":
        exif = Image.Exif()
        exif[EXIF_ORIENTATION_TAG] = 6
        picture.save(encoded, "JPEG", quality=85, exif=exif)
    elif kind == "png with alpha":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(encoded, "PNG", compress_level=1)
    else:
        picture.save(encoded, "WEBP", quality=85, method=0)
    return encoded.getvalue()

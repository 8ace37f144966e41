"""Pictures: uploads for the benchmarks, with decoding and matting costs like those of photos."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
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


def camera_photo(megapixels: float, seed: int = 0) -> Rgb:
    """Build a 4:3 picture with detail at every scale, like a camera's at full size.

    The amplitude of the texture falls with its frequency, as in natural pictures; the subject has a texture
    of its own and strands of hair across its edge; noise is that of a sensor, stronger where it is bright.

    References:
        Field, "Relations between the statistics of natural images and the response properties of cortical
        cells", J. Opt. Soc. Am. A 4, 1987 (the spectrum).
    """
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    rng = np.random.default_rng(seed)
    background = _texture(rng, height, width, (110, 125, 130))
    subject = _texture(rng, height, width, (205, 110, 60))
    inside = np.zeros((height, width), np.uint8)
    centre, radius = (width // 2, height // 2), height // 3
    cv2.circle(inside, centre, radius, 255, thickness=-1, lineType=cv2.LINE_AA)
    for angle in rng.uniform(0, 2 * np.pi, 400):
        begin, end = (radius * share for share in (0.97, rng.uniform(1.02, 1.15)))
        points = [
            (round(centre[0] + far * np.cos(turn)), round(centre[1] + far * np.sin(turn)))
            for far, turn in ((begin, angle), (end, angle + rng.uniform(-0.06, 0.06)))
        ]
        cv2.line(inside, *points, 255, thickness=max(1, height // 1500), lineType=cv2.LINE_AA)
    share = (inside.astype(np.float32) / 255.0)[..., None]
    mixed = background + share * (subject - background)
    noise = rng.standard_normal((512, 512, 3), np.float32)
    tiles = -(-height // 512), -(-width // 512), 1
    mixed += np.tile(noise, tiles)[:height, :width] * (1.5 + mixed * np.float32(1 / 64))
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _texture(
    rng: np.random.Generator, height: int, width: int, colour: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return a texture around a colour, float32 (H, W, 3), from octaves of random grids."""
    grey = np.zeros((height, width), np.float32)
    cells, amplitude = 4, 30.0
    while cells < height:
        grid = rng.standard_normal((cells, cells * 4 // 3), np.float32) * np.float32(amplitude)
        grey += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, amplitude = cells * 2, max(4.0, amplitude * 0.72)
    return np.asarray(grey[..., None] + np.asarray(colour, np.float32), np.float32)

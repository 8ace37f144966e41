"""Pictures: builders of small deterministic pictures, mattes and uploads."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.arrays import AlphaMatte, Grey, Rgb

EXIF_ORIENTATION_TAG = 0x0112


def photo(height: int, width: int, seed: int = 0) -> Rgb:
    """Build a photo-like picture: a textured round subject in front of a smooth, faintly noisy background."""
    rng = np.random.default_rng(seed)
    y, x = _grid(height, width)
    background = np.stack([60 + 90 * x, 110 + 70 * y, 160 - 60 * x * y], axis=2)
    stripes = 18 * np.sin(40 * x + seed) * np.cos(31 * y)
    subject = np.stack([200 - 40 * y + stripes, 90 + 30 * x + stripes, 40 + stripes], axis=2)
    alpha = disc_alpha(height, width)[:, :, None]
    noise = rng.normal(0, 2, (height, width, 3))
    mixed = alpha * subject + (1 - alpha) * background + noise
    pixels: Rgb = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return pixels


def disc_alpha(
    height: int,
    width: int,
    *,
    radius: float = 0.3,
    softness: float = 0.03,
    centre: tuple[float, float] = (0.5, 0.5),
) -> AlphaMatte:
    """Build the matte of a round subject with a soft edge.

    Args:
        height: In pixels.
        width: In pixels.
        radius: As a fraction of the shorter side.
        softness: Width of the ramp from 1 to 0, as a fraction of the shorter side.
        centre: (y, x), as fractions of the height and the width.
    """
    y, x = _grid(height, width)
    shorter = min(height, width)
    distance = np.hypot((y - centre[0]) * height, (x - centre[1]) * width) / shorter
    matte: AlphaMatte = np.clip((radius - distance) / softness + 0.5, 0, 1).astype(np.float32)
    return matte


def flat(height: int, width: int, colour: tuple[int, int, int] = (128, 128, 128)) -> Rgb:
    """Build a picture of a single colour: a scene without a subject."""
    return np.full((height, width, 3), colour, dtype=np.uint8)


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Build uniform 8-bit noise of any shape, which no encoder can compress."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def jpeg(
    pixels: Rgb | Grey, *, exif_orientation: int | None = None, quality: int = 90, progressive: bool = False
) -> bytes:
    """Encode a JPEG upload, colour (4:4:4) or grey; the orientation is only declared, not applied."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(
        encoded,
        "JPEG",
        quality=quality,
        subsampling=0,
        progressive=progressive,
        exif=_exif(exif_orientation),
    )
    return encoded.getvalue()


def png(pixels: NDArray[np.uint8], *, exif_orientation: int | None = None) -> bytes:
    """Encode a PNG upload: grey, RGB or RGBA by the array's shape."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", exif=_exif(exif_orientation))
    return encoded.getvalue()


def webp(
    pixels: NDArray[np.uint8],
    *,
    exif_orientation: int | None = None,
    lossless: bool = False,
    quality: int = 90,
) -> bytes:
    """Encode a WebP upload: RGB or RGBA by the array's shape."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(
        encoded, "WEBP", lossless=lossless, quality=quality, exact=lossless, exif=_exif(exif_orientation)
    )
    return encoded.getvalue()


def avif(pixels: NDArray[np.uint8], *, exif_orientation: int | None = None) -> bytes:
    """Encode an AVIF upload in 4:4:4; the orientation is declared in its boxes."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(
        encoded, "AVIF", quality=95, subsampling="4:4:4", speed=9, exif=_exif(exif_orientation)
    )
    return encoded.getvalue()


def gif(*frames: Rgb) -> bytes:
    """Encode a GIF upload of one or more frames, of at most 256 colours each."""
    encoded = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(encoded, "GIF", save_all=True, append_images=others)
    return encoded.getvalue()


def heic(pixels: NDArray[np.uint8], *, exif_orientation: int | None = None, **options: object) -> bytes:
    """Encode a HEIC upload in 4:4:4, grey, RGB or RGBA by the array's shape; needs pillow-heif."""
    import pillow_heif

    encoded = io.BytesIO()
    mode = "L" if pixels.ndim == 2 else {3: "RGB", 4: "RGBA"}[pixels.shape[2]]
    size = (pixels.shape[1], pixels.shape[0])
    exif = _exif(exif_orientation) or None
    pillow_heif.encode(mode, size, pixels.tobytes(), encoded, quality=95, chroma=444, exif=exif, **options)
    return encoded.getvalue()


def scan_bomb(height: int, width: int, *, extra_scans: int) -> bytes:
    """Build a progressive grey JPEG that repeats its last scan: small to send, expensive to decode."""
    upload = jpeg(np.zeros((height, width), dtype=np.uint8), progressive=True)
    last_scan = upload[upload.rindex(b"\xff\xda") : -2]
    return upload[:-2] + last_scan * extra_scans + b"\xff\xd9"


def png_header(height: int, width: int) -> bytes:
    """Build the first bytes of a PNG that declares a size and contains no pixels."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)


def laid_down(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn an upright picture into the stored one of an EXIF orientation, by the definition of the tag.

    The tag defines which sides of the scene the first stored row and column are.
    """
    sides = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }
    first_row, first_column = sides[orientation]
    stored = upright if first_row in ("top", "bottom") else np.swapaxes(upright, 0, 1)
    stored = stored[::-1] if first_row in ("bottom", "right") else stored
    return np.ascontiguousarray(stored[:, ::-1] if first_column in ("right", "bottom") else stored)


def opened(encoded: bytes) -> NDArray[np.uint8]:
    """Decode a result with Pillow, as an independent oracle, to an array in the stored mode."""
    with Image.open(io.BytesIO(encoded)) as stored:
        return np.asarray(stored)


def _grid(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[0:height, 0:width]
    return (y + 0.5) / height, (x + 0.5) / width


def _exif(orientation: int | None) -> bytes:
    if orientation is None:
        return b""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION_TAG] = orientation
    return exif.tobytes()

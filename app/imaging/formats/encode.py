"""Encode: pixels become a file of the requested format, without any metadata.

Rule 1: the upload's metadata and profile are never written, and no other profile is added. Colours are sRGB,
    and the file declares it where the format has a field for it: PNG's sRGB chunk, AVIF's nclx. WebP and JPEG
    have only embedded profiles, and readers take both for sRGB without one.
Rule 2: alpha is exact in every format that has it, at any quality; only colours are lossy.
Rule 3: colours passed to an encoder are 0 where alpha is 0. A lossy encoder may ring there, by a few pixels
    and in the subject's own colours.
"""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import FormatExceeded
from app.imaging.formats.png import encode_png
from app.imaging.formats.zip_bundle import encode_bundle
from app.imaging.progress import Check, no_check

FORMATS: Mapping[str, str] = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "avif": "image/avif",
    "zip": "application/zip",
}

MAX_SIDE_PX: Mapping[str, int] = {
    "png": 2**31 - 1,  # the header's 31-bit numbers
    "webp": 16_383,  # libwebp's 14 bits
    "jpeg": 65_500,  # libjpeg's own limit, below the 16 bits of a frame
    "avif": 65_536,  # AV1's 16 bits, of the size less one
    "zip": 65_500,  # that of its JPEG
}
"""Maximum side of each encoder."""

_LOSSLESS_QUALITY = 100  # the highest quality of a WebP means lossless
_WEBP_METHOD = 2  # half the time of libwebp's default 4, a few per cent larger
_AVIF_SPEED = 9  # half the time of 8, a tenth larger; Pillow's default 6 takes five times as long


def check_side(height: int, width: int, *, format: str) -> None:  # noqa: A002
    """Refuse a size that a format cannot hold; ``auto`` has PNG's limit, since it falls back on PNG.

    Raises:
        FormatExceeded: A side is longer than ``MAX_SIDE_PX`` of the format.
    """
    limit_px = MAX_SIDE_PX["png" if format == "auto" else format]
    if max(height, width) > limit_px:
        raise FormatExceeded(format, max(height, width), limit_px)


def encode(
    pixels: NDArray[np.uint8],
    *,
    format: str,  # noqa: A002
    quality: int,
    check: Check = no_check,
) -> bytes:
    """Encode 8-bit pixels without any metadata.

    Args:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha.
        format: A key of ``FORMATS``. A ZIP holds the colours of an RGBA picture and its alpha.
        quality: 1 to 100. PNG ignores it; WebP is lossless at 100, AVIF within 3 of 255.
        check: Called for each strip of a PNG or ZIP; the other encoders cannot be interrupted.

    Raises:
        ValueError: ``FORMATS`` lacks the format, or the format does not fit the pixels: JPEG has no alpha
            (lay the cutout over a background first), and a ZIP needs it.
        FormatExceeded: A side is longer than ``MAX_SIDE_PX``.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    check_side(*pixels.shape[:2], format=format)
    if format == "png":
        return encode_png(pixels, check=check)
    if format == "webp":
        return _encode_webp(pixels, quality)
    if format == "jpeg":
        return _encode_jpeg(pixels, quality)
    if format == "avif":
        return _encode_avif(pixels, quality)
    return encode_bundle(pixels, quality, check=check)


def _encode_webp(pixels: NDArray[np.uint8], quality: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(
        encoded,
        "WEBP",
        lossless=quality >= _LOSSLESS_QUALITY,
        quality=0 if quality >= _LOSSLESS_QUALITY else quality,  # of lossless: effort, not fidelity
        alpha_quality=100,
        method=_WEBP_METHOD,
        exact=True,  # keep the zeros under full transparency: the encoder would fill them with neighbours
    )
    return encoded.getvalue()


def _encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        raise ValueError("a JPEG has no alpha: lay the cutout over a background first")
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _encode_avif(pixels: NDArray[np.uint8], quality: int) -> bytes:
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(
        encoded,
        "AVIF",
        quality=quality,
        speed=_AVIF_SPEED,
        # Subsampled chroma would mix the subject's colour with the zeros next to it: a fifth more error at
        # the edge, for 4 % of the size.
        subsampling="4:0:0" if pixels.ndim == 2 else "4:4:4",
        max_threads=1,  # the worker threads are the parallelism
        advanced={"alpha:lossless": "1"} if has_alpha else {},
    )
    return encoded.getvalue()

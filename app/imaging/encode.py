"""Encode: pixels become the bytes of the format that was asked for, and nothing but pixels is written."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.png import encode_png

FORMATS: Mapping[str, str] = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}

_LOSSLESS_QUALITY = 100  # asking WebP for its best means asking for the pixels themselves
_WEBP_METHOD = 2  # half the time of libwebp's default 4, a few per cent larger


def encode(pixels: NDArray[np.uint8], *, format: str, quality: int) -> bytes:  # noqa: A002
    """Encode 8-bit pixels without any metadata.

    Args:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha.
        format: A key of ``FORMATS``.
        quality: 1 to 100. PNG takes no notice of it; WebP is lossless at 100 and keeps alpha exact at any.

    Raises:
        ValueError: The format has no name in ``FORMATS``, or is JPEG, which has no alpha, and the pixels
            have; lay them over a background first.
    """
    if format == "png":
        return encode_png(pixels)
    if format == "webp":
        return _encode_webp(pixels, quality)
    if format == "jpeg":
        return _encode_jpeg(pixels, quality)
    raise ValueError(f"there is no format {format!r}; there are {', '.join(FORMATS)}")


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

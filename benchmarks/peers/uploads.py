"""Uploads: the JPEG pictures that all peers are sent, with the detail and the file size of a camera's.

Enlarged small pictures have no detail, so their files are small and everything is cheap for the server that
skips flat areas. ``--data`` names a folder with photographs: one that is large enough is shrunk to
the wanted size, never enlarged. For sizes that no photograph has, the picture is synthetic.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.pictures import camera_photo

QUALITY = 92
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, slots=True)
class Upload:
    """A JPEG and where it comes from; ``size`` is (height, width)."""

    encoded: bytes
    size: tuple[int, int]
    origin: str


def upload_of(megapixels: float, data: Path | None = None) -> Upload:
    """Return a JPEG of about ``megapixels``: a photograph from ``data`` that has as many, else synthetic."""
    source = _smallest_large_enough(megapixels, data) if data else None
    if source is None:
        rgb = camera_photo(megapixels)
        return Upload(_encode(Image.fromarray(rgb)), (rgb.shape[0], rgb.shape[1]), "synthetic")
    with Image.open(source) as stored:
        picture = ImageOps.exif_transpose(stored).convert("RGB")
    factor = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    width, height = round(picture.width * factor), round(picture.height * factor)
    shrunk = picture.resize((width, height), Image.Resampling.LANCZOS)
    return Upload(
        _encode(shrunk), (height, width), f"photograph of {_megapixels(picture.size):.1f} megapixels"
    )


def detail(encoded: bytes) -> float:
    """Return the mean absolute difference of neighbouring pixels in grey, in levels of 255.

    Photographs from cameras have 3 to 12 at full size; an enlarged small picture has less than 1.
    """
    with Image.open(io.BytesIO(encoded)) as stored:
        grey = np.asarray(stored.convert("L"), np.int16)
    return float(np.abs(np.diff(grey, axis=1)).mean())


def _smallest_large_enough(megapixels: float, folder: Path) -> Path | None:
    """Return the smallest picture with at least ``megapixels``; headers are read, not pixels."""
    found: list[tuple[float, Path]] = []
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES):
        with Image.open(path) as picture:
            if (pixels := _megapixels(picture.size)) >= megapixels:
                found.append((pixels, path))
    return min(found)[1] if found else None


def _megapixels(size: tuple[int, int]) -> float:
    return size[0] * size[1] / 1e6


def _encode(picture: Image.Image) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return encoded.getvalue()

"""ZIP bundle: encodes a cutout as a ZIP of two pictures, its colours as JPEG and its alpha as PNG.

The ZIP is a quarter of the size of a PNG, for clients that can combine the two pictures; its structure and
the names of its entries are those of remove.bg's ZIP. Both entries are stored uncompressed, since neither
deflates any further, and the time stamps are fixed: the same cutout always gives the same bytes.

Where alpha is 0 the colours are 0, except in JPEG blocks that also contain visible pixels: there the block's
mean visible colour fills the rest. A step to black within a block would ring into the subject's edge; without
it the edge's error falls to two thirds, and the file's size to three quarters.
"""

import io
import zipfile

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.arrays import Cutout, Mask, Rgb
from app.imaging.formats.png import encode_png
from app.imaging.progress import Check, no_check

COLOUR_NAME, ALPHA_NAME = "color.jpg", "alpha.png"

_BLOCK_PX = 8  # of a JPEG whose chroma is not halved
_BATCH_BLOCKS = 4096  # bounds the size of float arrays
_SLICE_BYTES = 1 << 18
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold
_UNIX, _READABLE = 3, 0o644 << 16


def encode_bundle(cutout: Cutout, quality: int, *, check: Check = no_check) -> bytes:
    """Encode a cutout as a ZIP of exactly two entries, ``color.jpg`` (RGB) and ``alpha.png`` (8-bit grey).

    Args:
        cutout: Straight alpha; colours are 0 where alpha is 0.
        quality: Of the JPEG, 1 to 100; alpha is exact.
        check: Called between the steps, and for each strip of alpha.

    Raises:
        ValueError: The array has no alpha channel.
    """
    if cutout.ndim != 3 or cutout.shape[2] != 4:
        raise ValueError(f"a ZIP holds the colours and the alpha of an (H, W, 4), not of {cutout.shape}")
    colours = io.BytesIO()
    Image.fromarray(_filled(cutout, check)).save(colours, "JPEG", quality=quality, subsampling="4:4:4")
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, COLOUR_NAME, colours.getbuffer())
        _write(archive, ALPHA_NAME, encode_png(np.ascontiguousarray(cutout[:, :, 3]), check=check))
    return bundle.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    """Write an entry slice by slice: one copy of tens of megabytes would hold the interpreter lock."""
    whole = memoryview(content)
    with archive.open(_entry(name), "w") as entry:
        for start in range(0, len(whole), _SLICE_BYTES):
            entry.write(whole[start : start + _SLICE_BYTES])


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry's metadata, which is independent of the time and platform."""
    entry = zipfile.ZipInfo(name, _TIMESTAMP)
    entry.create_system, entry.external_attr = _UNIX, _READABLE
    return entry


def _filled(cutout: Cutout, check: Check = no_check) -> Rgb:
    """Return the colours, with each partly visible block filled where alpha is 0."""
    height, width = cutout.shape[:2]
    colours: Rgb = np.ascontiguousarray(cutout[:, :, :3])
    blocks = np.argwhere(_is_mixed(cutout[:, :, 3] > 0))
    within = np.arange(_BLOCK_PX)
    for first in range(0, len(blocks), _BATCH_BLOCKS):
        check()
        corners = _BLOCK_PX * blocks[first : first + _BATCH_BLOCKS, :, None]
        rows = np.minimum(corners[:, 0] + within, height - 1)[:, :, None]
        columns = np.minimum(corners[:, 1] + within, width - 1)[:, None, :]
        colours[rows, columns] = _with_mean(cutout[rows, columns])
    return colours


def _is_mixed(visible: Mask) -> Mask:
    """Return for each block whether it has both visible and invisible pixels; (⌈H/8⌉, ⌈W/8⌉)."""
    height, width = (-(-side_px // _BLOCK_PX) for side_px in visible.shape)
    down, right = height * _BLOCK_PX - visible.shape[0], width * _BLOCK_PX - visible.shape[1]
    whole = cv2.copyMakeBorder(visible.astype(np.uint8) * 255, 0, down, 0, right, cv2.BORDER_REPLICATE)
    share = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
    return np.asarray((share > 0) & (share < 255))  # a single pixel of 64 is 4 of 255


def _with_mean(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill each block, where alpha is 0, with its mean colour weighted by alpha: (n, 8, 8, 4) to RGB."""
    colours, weights = blocks[..., :3], blocks[..., 3:].astype(np.float32)
    mean = (colours * weights).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))
    return np.where(blocks[..., 3:] > 0, colours, np.rint(mean).astype(np.uint8)[:, None, None, :])

"""Bundle: a cutout becomes a ZIP of two plain pictures, its colours as JPEG and its alpha as PNG.

A quarter of the size of a PNG, for whoever can put the two together again: that is how remove.bg's ZIP is
built, and the names are the same. Both are stored as they are, since neither deflates any further, and the
time stamps are fixed: the same cutout always gives the same bytes.

Where alpha is 0 the colours are 0, but for the rest of a JPEG block that holds something that shows: there
they continue the block's own colours. A step to black within a block would ring into the subject's edge;
without it the edge's error is two thirds, and the file three quarters.
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
_BLOCKS_AT_ONCE = 4096  # bounds what is held in float
_PIECE_BYTES = 1 << 18
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # where a ZIP's time begins
_UNIX, _READABLE = 3, 0o644 << 16


def encode_bundle(cutout: Cutout, quality: int, *, check: Check = no_check) -> bytes:
    """Encode a cutout as a ZIP of exactly two entries, ``color.jpg`` (RGB) and ``alpha.png`` (8-bit grey).

    Args:
        cutout: Straight alpha, colours 0 where it is 0.
        quality: Of the JPEG, 1 to 100; alpha is exact.
        check: Called between the steps, and for each strip of alpha.

    Raises:
        ValueError: There is no alpha to put beside the colours.
    """
    if cutout.ndim != 3 or cutout.shape[2] != 4:
        raise ValueError(f"a ZIP holds the colours and the alpha of an (H, W, 4), not of {cutout.shape}")
    colours = io.BytesIO()
    Image.fromarray(_continued(cutout, check)).save(colours, "JPEG", quality=quality, subsampling="4:4:4")
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, COLOUR_NAME, colours.getbuffer())
        _write(archive, ALPHA_NAME, encode_png(np.ascontiguousarray(cutout[:, :, 3]), check=check))
    return bundle.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    """Write an entry piece by piece: one copy of tens of megabytes would hold the interpreter meanwhile."""
    whole = memoryview(content)
    with archive.open(_entry(name), "w") as entry:
        for start in range(0, len(whole), _PIECE_BYTES):
            entry.write(whole[start : start + _PIECE_BYTES])


def _entry(name: str) -> zipfile.ZipInfo:
    """Describe an entry by nothing that depends on when or where it is written."""
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.create_system, entry.external_attr = _UNIX, _READABLE
    return entry


def _continued(cutout: Cutout, check: Check = no_check) -> Rgb:
    """Return the colours, continued under alpha 0 to the end of each block that holds something else."""
    height, width = cutout.shape[:2]
    colours: Rgb = np.ascontiguousarray(cutout[:, :, :3])
    blocks = np.argwhere(_is_mixed(cutout[:, :, 3] > 0))
    within = np.arange(_BLOCK_PX)
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        check()
        corners = _BLOCK_PX * blocks[first : first + _BLOCKS_AT_ONCE, :, None]
        rows = np.minimum(corners[:, 0] + within, height - 1)[:, :, None]
        columns = np.minimum(corners[:, 1] + within, width - 1)[:, None, :]
        colours[rows, columns] = _with_mean(cutout[rows, columns])
    return colours


def _is_mixed(shows: Mask) -> Mask:
    """Tell of each block whether something in it shows and something does not; (⌈H/8⌉, ⌈W/8⌉)."""
    height, width = (-(-side_px // _BLOCK_PX) for side_px in shows.shape)
    down, right = height * _BLOCK_PX - shows.shape[0], width * _BLOCK_PX - shows.shape[1]
    whole = cv2.copyMakeBorder(shows.astype(np.uint8) * 255, 0, down, 0, right, cv2.BORDER_REPLICATE)
    part = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
    return np.asarray((part > 0) & (part < 255))  # a single pixel of 64 is 4 of 255


def _with_mean(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the mean colour of what shows, by how much it shows, where nothing does: (n, 8, 8, 4) to RGB."""
    colours, weights = blocks[..., :3], blocks[..., 3:].astype(np.float32)
    mean = (colours * weights).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))
    return np.where(blocks[..., 3:] > 0, colours, np.rint(mean).astype(np.uint8)[:, None, None, :])

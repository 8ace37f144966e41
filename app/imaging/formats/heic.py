"""HEIC: the main picture of a HEIC file, read by libheif through the optional package pillow-heif.

libheif turns and crops the picture as its boxes say, and refuses coded pictures larger than those declare.
"""

import io
from typing import cast

import cv2
import numpy as np
from PIL import Image

from app.errors import CorruptPicture
from app.imaging.formats.isobmff import HEIC_BRANDS, brands
from app.imaging.formats.raw_picture import Colours, Stored
from app.imaging.formats.sniff import Header

_WITH_A_BRAND_BYTES = 20  # of an ftyp box


def read_heic(upload: bytes, header: Header) -> Stored:
    """Read a HEIC's main picture, upright.

    Raises:
        CorruptPicture: It is larger than its header declares.
        READER_ERRORS: Its data is broken or cut off.
    """
    from pillow_heif import open_heif  # an extra, and slow to import: only who sends a HEIC pays for it

    if not brands(upload) & HEIC_BRANDS and int.from_bytes(upload[:4], "big") >= _WITH_A_BRAND_BYTES:
        upload = upload[:16] + b"heic" + upload[20:]  # libheif goes by the list of brands
    file = open_heif(io.BytesIO(upload), convert_hdr_to_8bit=True)
    main = file[file.primary_index]
    _check_size(main.size, header)
    read = np.asarray(main)
    _check_size(read.shape[1::-1], header)
    if read.dtype == np.uint16:
        read = _to_uint8(read, cast(int, main.info["bit_depth"]))
    if main.premultiplied_alpha:
        straight = main.mode.upper()
        read = np.asarray(Image.frombytes(main.mode, main.size, read.tobytes()).convert(straight))
    if read.ndim == 2 or read.shape[2] == 3:
        return Stored(read)
    colours = read[:, :, :-1] if read.shape[2] == 4 else read[:, :, 0]
    return Stored(np.ascontiguousarray(colours), np.ascontiguousarray(read[:, :, -1]))


def _to_uint8(deep: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], bits: int) -> Colours:
    """Scale samples to 8 bits, rounded half to even; of 16 bits, the lowest are empty.

    Only greys come like this: libheif converts all that has colours.
    """
    maximum = (1 << 16) - (1 << (16 - bits))
    return np.asarray(cv2.convertScaleAbs(deep, alpha=255 / maximum), np.uint8)


def _check_size(size: tuple[int, ...], header: Header) -> None:
    """Refuse more pixels than declared; there can be fewer, of a picture that its boxes crop."""
    declared = sorted((header.width_px, header.height_px))
    if any(side > limit for side, limit in zip(sorted(size), declared, strict=True)):
        raise CorruptPicture("The HEIC file holds a larger picture than it declares.")

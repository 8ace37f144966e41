"""HEIC: reads the main picture of a HEIC file with libheif, through the optional package pillow-heif.

libheif rotates and crops the picture by its boxes, and refuses coded pictures larger than the boxes declare.
"""

import io
from typing import cast

import cv2
import numpy as np
from PIL import Image

from app.errors import CorruptPicture
from app.imaging.formats.isobmff import HEIC_BRANDS, brands
from app.imaging.formats.raw_picture import Colours, RawPicture
from app.imaging.formats.sniff import Header

_MIN_BYTES_WITH_A_BRAND = 20  # of an ftyp box with one compatible brand


def read_heic(upload: bytes, header: Header) -> RawPicture:
    """Read a HEIC's main picture, upright.

    Raises:
        CorruptPicture: The picture is larger than its header declares.
        READER_ERRORS: The data is broken or cut off.
    """
    from pillow_heif import open_heif  # an extra, and slow to import: imported with the first HEIC

    if not brands(upload) & HEIC_BRANDS and int.from_bytes(upload[:4], "big") >= _MIN_BYTES_WITH_A_BRAND:
        upload = upload[:16] + b"heic" + upload[20:]  # libheif checks the list of brands
    file = open_heif(io.BytesIO(upload), convert_hdr_to_8bit=True)
    main = file[file.primary_index]
    _check_size(main.size, header)
    decoded = np.asarray(main)
    _check_size(decoded.shape[1::-1], header)
    if decoded.dtype == np.uint16:
        decoded = _to_uint8(decoded, cast(int, main.info["bit_depth"]))
    if main.premultiplied_alpha:
        straight = main.mode.upper()
        decoded = np.asarray(Image.frombytes(main.mode, main.size, decoded.tobytes()).convert(straight))
    if decoded.ndim == 2 or decoded.shape[2] == 3:
        return RawPicture(decoded)
    colours = decoded[:, :, :-1] if decoded.shape[2] == 4 else decoded[:, :, 0]
    return RawPicture(np.ascontiguousarray(colours), np.ascontiguousarray(decoded[:, :, -1]))


def _to_uint8(deep: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], bits: int) -> Colours:
    """Scale samples to 8 bits, rounded half to even; the lowest ``16 - bits`` bits are empty.

    Only grey pictures have 16-bit samples here: libheif converts those with colours.
    """
    maximum = (1 << 16) - (1 << (16 - bits))
    return np.asarray(cv2.convertScaleAbs(deep, alpha=255 / maximum), np.uint8)


def _check_size(size: tuple[int, ...], header: Header) -> None:
    """Refuse a larger picture than declared; it may be smaller if its boxes crop it."""
    declared = sorted((header.width_px, header.height_px))
    if any(side > limit for side, limit in zip(sorted(size), declared, strict=True)):
        raise CorruptPicture("The HEIC file holds a larger picture than it declares.")

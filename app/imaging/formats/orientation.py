"""Orientation: reads a picture's orientation from its metadata, and rotates its pixels upright.

Strategy: this module reads the one tag that matters by hand, in two dozen lines. Pillow's EXIF reader raises
five kinds of exception on broken metadata and prints warnings that quote it. An AVIF declares its orientation
in its boxes, which take precedence over its EXIF block; libheif rotates a HEIC by itself.
"""

import struct
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.formats.chunks import is_intact
from app.imaging.formats.containers import jpeg_segments, png_chunks, webp_chunks
from app.imaging.formats.isobmff import declared_orientation, read_boxes

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_EXIF_INTRODUCTION = b"Exif\x00\x00"
_BYTE_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_SHORT, _LONG = 3, 4  # TIFF field types
_APP1, _SOS = b"\xe1", b"\xda"

_Pixels = NDArray[np.uint8]
_TURNS: Mapping[int, Callable[[_Pixels], _Pixels]] = {
    2: lambda pixels: cv2.flip(pixels, 1).astype(np.uint8, copy=False),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180).astype(np.uint8, copy=False),
    4: lambda pixels: cv2.flip(pixels, 0).astype(np.uint8, copy=False),
    5: lambda pixels: cv2.transpose(pixels).astype(np.uint8, copy=False),
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE).astype(np.uint8, copy=False),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180).astype(np.uint8, copy=False),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE).astype(np.uint8, copy=False),
}


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Rotate or mirror stored pixels, (H, W) or (H, W, C), from an EXIF orientation to orientation 1."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else turn(pixels)


def find_orientation(upload: bytes, file_format: str) -> int | None:
    """Return a picture's EXIF orientation, 1 to 8; ``None`` if its EXIF block is malformed."""
    if file_format == "avif":
        boxes = read_boxes(upload)
        return declared_orientation(upload, boxes.items[boxes.main])
    exif = find_exif(upload, file_format)
    return UPRIGHT if exif is None else read_orientation(exif)


def find_exif(upload: bytes, file_format: str) -> bytes | None:
    """Return the EXIF block (a TIFF stream) of a JPEG, PNG or WebP, ``None`` if it has none.

    For a PNG chunk with a wrong checksum the block is empty.
    """
    if file_format not in ("jpeg", "png", "webp"):
        return None
    if file_format == "jpeg":
        for segment in jpeg_segments(upload):
            if segment.name == _SOS:
                return None
            payload = upload[segment.start : segment.end] if segment.name == _APP1 else b""
            if payload.startswith(_EXIF_INTRODUCTION):
                return payload.removeprefix(_EXIF_INTRODUCTION)
        return None
    is_png = file_format == "png"
    chunks, name = (png_chunks, b"eXIf") if is_png else (webp_chunks, b"EXIF")
    for chunk in chunks(upload):
        if chunk.name == name:
            is_broken = is_png and not is_intact(upload, chunk)
            return b"" if is_broken else upload[chunk.start : chunk.end].removeprefix(_EXIF_INTRODUCTION)
    return None


def read_orientation(exif: bytes) -> int | None:
    """Read the orientation tag of an EXIF block.

    Returns:
        1 to 8; 1 if the tag is absent, and ``None`` if the block or the tag's value is malformed.
    """
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == _ORIENTATION_TAG:
                return _orientation_value(exif, entry + 8, order=order, kind=kind, count=count)
    except struct.error:
        return None
    return UPRIGHT


def _orientation_value(exif: bytes, start: int, *, order: str, kind: int, count: int) -> int | None:
    if kind not in (_SHORT, _LONG) or count != 1:
        return None
    (orientation,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", exif, start)
    return int(orientation) if 1 <= orientation <= 8 else None

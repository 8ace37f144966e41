"""Decode: the bytes of an upload become upright sRGB pixels.

Rule 1: this is the only module that lets Pillow open anything, and it hands it one reader, the one that
    the bytes call for. Going through the reader's class instead of ``Image.open`` leaves out the size
    guard, which is a process-wide setting below our own limits, and the multi-picture JPEG reader.
Rule 2: whatever a reader raises on broken bytes becomes ``CorruptPicture`` with a text of ours.
Rule 3: nothing of the metadata is shown to Pillow where it would interpret it: its warnings quote the
    upload, and silencing them needs ``warnings.catch_warnings``, which is not safe in threads.

Colours are taken as sRGB as they are; ``_to_srgb`` is where a profile would be applied.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from app.arrays import Grey, Rgb
from app.errors import CorruptPicture
from app.imaging.containers import jpeg_segments
from app.imaging.orientation import UPRIGHT, find_exif, read_orientation, turn_upright
from app.imaging.sniff import Header

FIRST_FRAME_ONLY = "first_frame_only"
EXIF_IGNORED = "exif_ignored"

_READERS: Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}

# What Pillow's three readers have been seen to raise on 15,639 hostile files, or say that they raise.
# MemoryError stays out: it is ours, and means that the server took on more than it can hold.
_READER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    SystemError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    EOFError,
    struct.error,
    zlib.error,
    Warning,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """An upload, decoded: upright pixels, its own alpha if any of it is not opaque, and what was odd.

    ``own_alpha`` is kept in 8 bits, a quarter of what an ``AlphaMatte`` takes. ``rgb`` is as stored even
    where ``own_alpha`` is 0.
    """

    rgb: Rgb
    own_alpha: Grey | None
    warnings: tuple[str, ...]


def decode(upload: bytes, header: Header) -> Picture:
    """Decode the first frame of an upload to upright 8-bit RGB.

    Palettes and greys are spread to RGB, 16-bit greys are scaled (not clipped), CMYK is taken to be
    inverted as Adobe writes it. Transparency in any form is kept apart as the picture's own alpha.

    Args:
        upload: The bytes that ``sniff`` was given.
        header: What it said about them; the size limits have been checked.

    Raises:
        CorruptPicture: The data is broken or cut off, or is not what the header says.
    """
    if not header.is_whole:
        raise CorruptPicture("The picture's file is cut off.")
    exif = find_exif(upload, header.format)
    orientation = UPRIGHT if exif is None else read_orientation(exif)
    pixels, own_alpha, is_animated = _read_first_frame(upload, header)
    warnings = (
        *((FIRST_FRAME_ONLY,) if is_animated else ()),
        *((EXIF_IGNORED,) if orientation is None else ()),
    )
    if own_alpha is not None and own_alpha.min() == 255:
        own_alpha = None
    return Picture(
        rgb=turn_upright(_to_srgb(pixels), orientation or UPRIGHT),
        own_alpha=None if own_alpha is None else turn_upright(own_alpha, orientation or UPRIGHT),
        warnings=warnings,
    )


def _to_srgb(rgb: Rgb) -> Rgb:
    """Return the colours as they are: pictures are taken to be sRGB, as the network's training set is."""
    return rgb


def _read_first_frame(upload: bytes, header: Header) -> tuple[Rgb, Grey | None, bool]:
    """Read (rgb, own alpha, is animated) as stored, before any turning."""
    shown = _without_exif(upload) if header.format == "jpeg" else upload
    try:
        with _READERS[header.format](io.BytesIO(shown)) as stored:
            if stored.size != (header.width_px, header.height_px):
                raise CorruptPicture("The picture's size is not the one that its header declares.")
            stored.load()
            rgb, own_alpha = _split(stored, png_depth=upload[24])
            return rgb, own_alpha, getattr(stored, "n_frames", 1) > 1
    except _READER_ERRORS as error:
        raise CorruptPicture("The picture's data is broken or cut off.") from error


def _without_exif(upload: bytes) -> bytes | bytearray:
    """Hide a JPEG's EXIF segments from Pillow, which would parse them for a resolution nobody asks for."""
    hidden: bytearray | None = None
    for segment in jpeg_segments(upload):
        if segment.name == b"\xda":
            break
        if segment.name == b"\xe1" and upload.startswith(b"Exif", segment.start):
            hidden = hidden or bytearray(upload)
            hidden[segment.start : segment.start + 4] = b"\x00\x00\x00\x00"
    return upload if hidden is None else hidden


def _split(stored: Image.Image, *, png_depth: int) -> tuple[Rgb, Grey | None]:
    """Split a loaded picture of any mode into 8-bit RGB and its own alpha.

    Args:
        stored: In the mode that its file has.
        png_depth: Bits per sample of a PNG, which a transparent grey is counted in; ignored otherwise.
    """
    transparent = stored.info.get("transparency")
    if stored.mode == "I;16":
        deep = np.asarray(stored)
        grey = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return _grey_to_rgb(grey), None if transparent is None else _opaque_where(deep != transparent)
    if stored.mode in ("1", "L"):
        grey = _pixels(stored.convert("L"))
        if transparent is None:
            return _grey_to_rgb(grey), None
        # Pillow spreads 2- and 4-bit greys over 0 to 255, but leaves the transparent one as it stands.
        spread = {2: 85, 4: 17}.get(png_depth, 1) if stored.mode == "L" else 1
        return _grey_to_rgb(grey), _opaque_where(grey != transparent * spread)
    if stored.mode == "RGB":
        rgb = _pixels(stored)
        if transparent is None:
            return rgb, None
        # Pillow keeps the high byte of 16-bit colours, so that byte is what can be compared.
        colour = np.array(transparent) >> (8 if png_depth == 16 else 0)
        return rgb, _opaque_where((rgb != colour).any(axis=2))
    if stored.mode in ("LA", "RGBA") or (stored.mode == "P" and transparent is not None):
        rgba = _pixels(stored if stored.mode == "RGBA" else stored.convert("RGBA"))
        return _pixels(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)), _pixels(cv2.extractChannel(rgba, 3))
    return _pixels(stored.convert("RGB")), None


def _pixels(source: object) -> NDArray[np.uint8]:
    return np.asarray(source, dtype=np.uint8)


def _grey_to_rgb(grey: Grey) -> Rgb:
    return _pixels(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


def _opaque_where(is_opaque: NDArray[np.bool_]) -> Grey:
    return is_opaque.astype(np.uint8) * np.uint8(255)

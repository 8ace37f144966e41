"""Fast decoders: read JPEG and WebP faster than Pillow, to the same pixels.

Pillow decodes into memory of its own, four bytes a pixel, which is then copied twice: half of its time for a
JPEG, and two thirds of its memory. Here a JPEG is decoded straight into the array, by the same
libjpeg-turbo with the same transform and upsampling, and a still WebP by libwebp without the canvas that
animations need.

Rule: a fast decoder reads only files that are fully valid. At the first irregularity, even a mere warning of
the library, it gives up, and Pillow decides whether the file is a picture: neither the set of accepted files
nor their pixels depend on the path. For a JPEG without its end marker, ``jpeg.py`` decides.
"""

import struct

import cv2
import numpy as np
import simplejpeg

from app.imaging.formats.containers import Segment, webp_chunks
from app.imaging.formats.raw_picture import RawPicture
from app.imaging.formats.sniff import Header

# By a JPEG's own colour space: the one to decode to, and its number of channels.
_COLOUR_SPACES = {
    "Gray": ("GRAY", 1),
    "YCbCr": ("RGB", 3),
    "RGB": ("RGB", 3),
    "CMYK": ("CMYK", 4),
    "YCCK": ("CMYK", 4),
}
# Flags of a WebP's VP8X chunk, by the chunk that each announces. Transparency is read from the picture
# itself; animation chunks get a bit that is never set here, so that animations are always left to Pillow.
_FLAGS = {b"XMP ": 0x04, b"EXIF": 0x08, b"ICCP": 0x20, b"ANIM": 0x40, b"ANMF": 0x40}
_ALPHA_FLAG = 0x10


class UnusualJpegError(ValueError):
    """The fast decoder does not support a JPEG's sampling or colour space."""


def read_webp_fast(upload: bytes, header: Header) -> RawPicture | None:
    """Read a still WebP faster than Pillow, or return ``None`` if Pillow must read it."""
    return None if header.is_animated else _read_webp(upload, header)


def read_jpeg_strictly(upload: bytes, header: Header) -> RawPicture:
    """Read a fully valid JPEG, to the same pixels as Pillow.

    Raises:
        UnusualJpegError: Pillow must read the file, by its header.
        ValueError: The file is not valid; the text is the first error or warning of libjpeg-turbo.
    """
    size = (header.height_px, header.width_px)
    try:
        *coded_size, own_space, _ = simplejpeg.decode_jpeg_header(upload)
    except ValueError as error:
        raise UnusualJpegError from error
    if own_space not in _COLOUR_SPACES or tuple(coded_size) != size:
        raise UnusualJpegError
    space, channels = _COLOUR_SPACES[own_space]
    decoded = np.empty(size if channels == 1 else (*size, channels), np.uint8)
    simplejpeg.decode_jpeg(upload, space, buffer=decoded)
    if space == "CMYK":
        np.invert(decoded, out=decoded)  # Adobe stores inks inverted
    return RawPicture(decoded)


def _read_webp(upload: bytes, header: Header) -> RawPicture | None:
    picture = _picture_alone(upload)
    if picture is None:
        return None
    is_opaque = not any(_holds_alpha(picture, chunk) for chunk in webp_chunks(picture))
    flags = (cv2.IMREAD_COLOR_RGB if is_opaque else cv2.IMREAD_UNCHANGED) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), flags)
    except cv2.error:
        return None
    expected = (header.height_px, header.width_px, 3 if is_opaque else 4)
    if decoded is None or decoded.dtype != np.uint8 or decoded.shape != expected:
        return None
    if is_opaque:
        return RawPicture(np.asarray(decoded, np.uint8))
    rgb = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGB), np.uint8)
    return RawPicture(rgb, np.asarray(cv2.extractChannel(decoded, 3), np.uint8))


def _holds_alpha(picture: bytes, chunk: Segment) -> bool:
    """Return whether a chunk is an alpha channel, or a lossless picture that declares one."""
    return chunk.name == b"ALPH" or (chunk.name == b"VP8L" and bool(picture[chunk.start + 4] & 0x10))


def _picture_alone(upload: bytes) -> bytes | None:
    """Return a WebP truncated after its picture, or ``None`` if its chunks are not fully valid.

    If a picture's data ends early, the simple decoder reads the bytes that follow as more of it.
    """
    chunks = list(webp_chunks(upload))
    pictures = [chunk.end for chunk in chunks if chunk.name in (b"VP8 ", b"VP8L")]
    if len(pictures) != 1:
        return None
    end = chunks[-1].end + (chunks[-1].end & 1)
    is_size_right = end == len(upload) == int.from_bytes(upload[4:8], "little") + 8
    flags = upload[20] & ~_ALPHA_FLAG if upload[12:16] == b"VP8X" else 0
    if not is_size_right or flags != sum(_FLAGS.get(name, 0) for name in {chunk.name for chunk in chunks}):
        return None
    return upload[:4] + struct.pack("<I", pictures[0] - 8) + upload[8 : pictures[0]]

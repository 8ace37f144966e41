"""Shortcuts: the two commonest formats read faster than by Pillow, to the very same pixels.

Pillow decodes into memory of its own, four bytes a pixel, which is then copied twice: half of its time for a
JPEG, and two thirds of its memory. Here a JPEG is decoded straight into the array, by the same
libjpeg-turbo with the same transform and upsampling, and a still WebP by libwebp without the canvas that
animations need.

Rule: a shortcut is for files that are in perfect order. At the least oddity, a mere warning of the library
included, it gives up, and Pillow decides whether there is a picture: what is accepted, and what its pixels
are, does not depend on the path. For a JPEG without its end, ``jpeg.py`` decides.
"""

import struct

import cv2
import numpy as np
import simplejpeg

from app.imaging.formats.containers import Part, webp_chunks
from app.imaging.formats.raw_picture import Stored
from app.imaging.formats.sniff import Header

# By what a JPEG has inside, what to ask for, and how many channels that is.
_ASKED = {
    "Gray": ("GRAY", 1),
    "YCbCr": ("RGB", 3),
    "RGB": ("RGB", 3),
    "CMYK": ("CMYK", 4),
    "YCCK": ("CMYK", 4),
}
# Of a WebP's VP8X chunk, each for the chunk that it announces; transparency shows in the picture itself, and
# animations get a bit that is never set, so that they are never in order.
_FLAGS = {b"XMP ": 0x04, b"EXIF": 0x08, b"ICCP": 0x20, b"ANIM": 0x40, b"ANMF": 0x40}
_ALPHA_FLAG = 0x10


class UnusualJpegError(ValueError):
    """A JPEG's sampling or kind of colours is not one that the fast reader knows."""


def read_webp_by_shortcut(upload: bytes, header: Header) -> Stored | None:
    """Read a still WebP faster than Pillow, or return ``None`` where only Pillow can tell."""
    return None if header.is_animated else _read_webp(upload, header)


def read_jpeg_strictly(upload: bytes, header: Header) -> Stored:
    """Read a JPEG in perfect order, to the same pixels as Pillow.

    Raises:
        UnusualJpegError: Its header is for Pillow.
        ValueError: It is not in order; the text is the first complaint of libjpeg-turbo.
    """
    size = (header.height_px, header.width_px)
    try:
        *read_size, inside, _ = simplejpeg.decode_jpeg_header(upload)
    except ValueError as error:
        raise UnusualJpegError from error
    if inside not in _ASKED or tuple(read_size) != size:
        raise UnusualJpegError
    asked, channels = _ASKED[inside]
    read = np.empty(size if channels == 1 else (*size, channels), np.uint8)
    simplejpeg.decode_jpeg(upload, asked, buffer=read)
    if asked == "CMYK":
        np.invert(read, out=read)  # as Adobe stores inks
    return Stored(read)


def _read_webp(upload: bytes, header: Header) -> Stored | None:
    picture = _picture_alone(upload)
    if picture is None:
        return None
    is_opaque = not any(_holds_alpha(picture, chunk) for chunk in webp_chunks(picture))
    wanted = cv2.IMREAD_COLOR_RGB if is_opaque else cv2.IMREAD_UNCHANGED
    try:
        read = cv2.imdecode(np.frombuffer(picture, np.uint8), wanted | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    expected = (header.height_px, header.width_px, 3 if is_opaque else 4)
    if read is None or read.dtype != np.uint8 or read.shape != expected:
        return None
    if is_opaque:
        return Stored(np.asarray(read, np.uint8))
    rgb = np.asarray(cv2.cvtColor(read, cv2.COLOR_BGRA2RGB), np.uint8)
    return Stored(rgb, np.asarray(cv2.extractChannel(read, 3), np.uint8))


def _holds_alpha(picture: bytes, chunk: Part) -> bool:
    """Return whether a chunk is an alpha channel, or a lossless picture that says that it has one."""
    return chunk.name == b"ALPH" or (chunk.name == b"VP8L" and bool(picture[chunk.start + 4] & 0x10))


def _picture_alone(upload: bytes) -> bytes | None:
    """Cut a WebP off after its picture, or return ``None`` if its chunks are not in perfect order.

    The simple decoder takes whatever follows for more of a picture that has run out of data.
    """
    chunks = list(webp_chunks(upload))
    pictures = [chunk.end for chunk in chunks if chunk.name in (b"VP8 ", b"VP8L")]
    if len(pictures) != 1:
        return None
    end = chunks[-1].end + (chunks[-1].end & 1)
    fills_the_file = end == len(upload) == int.from_bytes(upload[4:8], "little") + 8
    flagged = upload[20] & ~_ALPHA_FLAG if upload[12:16] == b"VP8X" else 0
    if not fills_the_file or flagged != sum(_FLAGS.get(name, 0) for name in {chunk.name for chunk in chunks}):
        return None
    return upload[:4] + struct.pack("<I", pictures[0] - 8) + upload[8 : pictures[0]]

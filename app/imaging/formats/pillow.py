"""Pillow: an upload is opened by the one reader that its bytes call for, and split into its channels.

Rule 1: this and ``deep.py`` alone let Pillow open anything. Going through the reader's class instead of
    ``Image.open`` leaves out the size guard, which is a process-wide setting below our own limits, and the
    multi-picture JPEG reader.
Rule 2: nothing of the metadata is shown to Pillow where it would interpret it: its warnings quote the
    upload, silencing them needs ``warnings.catch_warnings``, which is not safe in threads, and a broken
    profile or EXIF block would fail the whole picture.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from app.arrays import Grey
from app.errors import CorruptPicture
from app.imaging.formats.chunks import needed_chunks
from app.imaging.formats.containers import jpeg_segments, rounded_riff
from app.imaging.formats.isobmff import read_boxes
from app.imaging.formats.png_rows import is_dense, is_paint_left, lacks_rows, paint
from app.imaging.formats.raw_picture import Colours, Stored
from app.imaging.formats.sniff import Header

_READERS: Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}

# What Pillow's readers have been seen to raise on 15,639 hostile files, or say that they raise.
# MemoryError stays out: it is ours, and means that the server took on more than it can hold.
READER_ERRORS = (
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

_STRIP_PX = 262_144  # of Pillow's 4-byte pixels, few enough to stay in a core's cache


def read_by_pillow(upload: bytes, header: Header) -> Stored:
    """Read the first frame of an upload.

    Raises:
        CorruptPicture: Its size is not the one that its header declares.
        READER_ERRORS: Its data is broken or cut off.
    """
    return split(load(shown(upload, header.format), header), header, png_depth=upload[24])


def load(visible: bytes, header: Header, *, rawmode: str = "") -> ImageFile.ImageFile:
    """Open a file and decode its first frame.

    Args:
        visible: The upload as ``shown``.
        header: What ``sniff`` said about it.
        rawmode: How a PNG's samples are to be unpacked, if not as Pillow does by itself.
    """
    stored = _READERS[header.format](io.BytesIO(visible))
    if stored.size != (header.width_px, header.height_px):
        raise CorruptPicture("The picture's size is not the one that its header declares.")
    if rawmode:
        stored.tile = [tile._replace(args=rawmode) for tile in stored.tile]
    if header.format == "png":
        _load_rows(stored, visible)
    stored.load()
    return stored


def _load_rows(stored: ImageFile.ImageFile, visible: bytes) -> None:
    """Decode a PNG, all of its rows."""
    if is_dense(visible):
        paint(stored)
        stored.load()
        is_doubtful = is_paint_left(stored)
    else:
        is_doubtful = True
    if is_doubtful and lacks_rows(visible):
        raise CorruptPicture("The PNG file is damaged, or holds fewer rows than it declares.")


def shown(upload: bytes, file_format: str) -> bytes:
    """Return an upload without the metadata that Pillow would interpret."""
    if file_format == "jpeg":
        return _without_exif(upload)
    if file_format == "png":
        return needed_chunks(upload)
    if file_format == "avif":
        return _as_still(upload)
    if file_format == "webp":
        return rounded_riff(upload)
    return upload


def _without_exif(upload: bytes) -> bytes:
    """Hide a JPEG's EXIF segments, which would be parsed for a resolution nobody asks for."""
    at = []
    for segment in jpeg_segments(upload):
        if segment.name == b"\xda":
            break
        if segment.name == b"\xe1" and upload.startswith(b"Exif", segment.start):
            at.append(segment.start)
    return _overwritten(upload, at, bytes(4))


def _as_still(upload: bytes) -> bytes:
    """Name an AVIF's EXIF items otherwise, and have its main picture shown where it also has a sequence."""
    boxes = read_boxes(upload)
    at = [item.kind_at for item in boxes.items.values() if item.kind == b"Exif"]
    visible = _overwritten(upload, at, b"free")
    return visible if upload[8:12] == b"avif" else _overwritten(visible, [8], b"avif")


def _overwritten(upload: bytes, at: list[int], name: bytes) -> bytes:
    if not at:
        return upload
    changed = bytearray(upload)
    for start in at:
        changed[start : start + len(name)] = name
    return bytes(changed)


def split(stored: Image.Image, header: Header, *, png_depth: int) -> Stored:
    """Split a loaded picture of any mode of 8 bits or fewer into its colours and its own alpha.

    Args:
        stored: In the mode that its file has.
        header: What ``sniff`` said about it.
        png_depth: Bits per sample of a PNG, which a transparent grey is counted in; ignored otherwise.
    """
    transparent = stored.info.get("transparency")
    if stored.mode in ("1", "L"):
        grey = pixels(stored, "L")
        if transparent is None:
            return Stored(grey)
        # Pillow spreads 2- and 4-bit greys over 0 to 255, but leaves the transparent one as it stands.
        is_narrow = header.format == "png" and stored.mode == "L"
        spread = {2: 85, 4: 17}.get(png_depth, 1) if is_narrow else 1
        return Stored(grey, opaque_where(grey != transparent * spread))
    if stored.mode == "CMYK":
        return Stored(pixels(stored, "CMYK"))
    if stored.mode == "LA":
        both = pixels(stored, "LA")
        return Stored(np.ascontiguousarray(both[:, :, 0]), np.ascontiguousarray(both[:, :, 1]))
    if stored.mode == "RGBA" or (stored.mode == "P" and transparent is not None):
        rgba = pixels(stored, "RGBA")
        return Stored(_array(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)), _array(cv2.extractChannel(rgba, 3)))
    rgb = pixels(stored, "RGB")
    if transparent is None or stored.mode != "RGB":
        return Stored(rgb)
    return Stored(rgb, opaque_where((rgb != np.array(transparent)).any(axis=2)))


def pixels(stored: Image.Image, mode: str) -> Colours:
    """Copy a loaded picture's pixels out of Pillow, converted to a mode of 8 bits.

    By strips, which takes half the time and a third of the memory of one ``np.asarray``.
    """
    width, height = stored.size
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    copied = np.empty((height, width, *channels), np.uint8)
    step = max(1, _STRIP_PX // width)
    for top in range(0, height, step):
        strip = stored.crop((0, top, width, min(top + step, height)))
        copied[top : top + step] = np.asarray(strip if strip.mode == mode else strip.convert(mode))
    return copied


def opaque_where(is_opaque: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Grey:
    """Return an alpha of 255 where opaque and 0 elsewhere."""
    return is_opaque.astype(np.uint8) * np.uint8(255)


def _array(source: object) -> Colours:
    return np.asarray(source, dtype=np.uint8)

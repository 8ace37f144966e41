"""Pillow: opens an upload with the reader for its format, and splits it into its channels.

Rule 1: only this module and ``png16.py`` let Pillow open files. Calling the reader's class instead of
    ``Image.open`` avoids Pillow's size limit, which is a process-wide setting below our own limits, and the
    multi-picture JPEG reader.
Rule 2: Pillow never gets metadata that it would interpret: its warnings quote the upload, silencing them
    needs ``warnings.catch_warnings``, which is not thread-safe, and a broken profile or EXIF block would fail
    the whole picture.
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
from app.imaging.formats.png_rows import is_dense, is_last_row_uniform, lacks_rows
from app.imaging.formats.raw_picture import Colours, RawPicture
from app.imaging.formats.sniff import Header

_READERS: Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}

# The exceptions that Pillow's readers raised on 15,639 hostile files, or that their documentation lists.
# Not MemoryError: that is the server's own error, and means that it admitted more than it can hold.
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


def read_with_pillow(upload: bytes, header: Header) -> RawPicture:
    """Read the first frame of an upload.

    Raises:
        CorruptPicture: The picture's size is not the one that its header declares.
        READER_ERRORS: The data is broken or cut off.
    """
    return split(load(strip_metadata(upload, header.format), header), header, png_depth=upload[24])


def load(stripped: bytes, header: Header, *, rawmode: str = "") -> ImageFile.ImageFile:
    """Open a file and decode its first frame.

    Args:
        stripped: The upload, as ``strip_metadata`` returns it.
        header: The result of ``sniff``.
        rawmode: Pillow's raw mode for a PNG's samples, if not its default.

    Raises:
        CorruptPicture: The picture's size is not the one that its header declares, or a PNG lacks rows.
        READER_ERRORS: The data is broken or cut off.
    """
    image = _READERS[header.format](io.BytesIO(stripped))
    if image.size != (header.width_px, header.height_px):
        raise CorruptPicture("The picture's size is not the one that its header declares.")
    if rawmode:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    if header.format == "png":
        _load_rows(image, stripped)
    image.load()
    return image


def _load_rows(image: ImageFile.ImageFile, stripped: bytes) -> None:
    """Decode a PNG, and refuse one that lacks rows."""
    may_lack_rows = True
    if is_dense(stripped):
        image.load()
        may_lack_rows = is_last_row_uniform(image)
    if may_lack_rows and lacks_rows(stripped):
        raise CorruptPicture("The PNG file is damaged, or holds fewer rows than it declares.")


def strip_metadata(upload: bytes, file_format: str) -> bytes:
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
    """Hide a JPEG's EXIF segments, which Pillow would parse for a resolution that is not needed."""
    positions = []
    for segment in jpeg_segments(upload):
        if segment.name == b"\xda":
            break
        if segment.name == b"\xe1" and upload.startswith(b"Exif", segment.start):
            positions.append(segment.start)
    return _overwritten(upload, positions, bytes(4))


def _as_still(upload: bytes) -> bytes:
    """Rename an AVIF's EXIF items, and select its main picture instead of an image sequence."""
    boxes = read_boxes(upload)
    positions = [item.kind_at for item in boxes.items.values() if item.kind == b"Exif"]
    stripped = _overwritten(upload, positions, b"free")
    return stripped if upload[8:12] == b"avif" else _overwritten(stripped, [8], b"avif")


def _overwritten(upload: bytes, positions: list[int], name: bytes) -> bytes:
    if not positions:
        return upload
    changed = bytearray(upload)
    for start in positions:
        changed[start : start + len(name)] = name
    return bytes(changed)


def split(image: Image.Image, header: Header, *, png_depth: int) -> RawPicture:
    """Split a loaded picture of any mode of 8 bits or fewer into its colours and its own alpha.

    Args:
        image: In its file's own mode.
        header: The result of ``sniff``.
        png_depth: Bits per sample of a PNG, the unit of a transparent grey; ignored for other formats.
    """
    transparent = image.info.get("transparency")
    if image.mode in ("1", "L"):
        grey = pixels(image, "L")
        if transparent is None:
            return RawPicture(grey)
        # Pillow scales 2- and 4-bit greys to 0 to 255, but not the transparent one.
        may_be_narrow = header.format == "png" and image.mode == "L"
        factor = {2: 85, 4: 17}.get(png_depth, 1) if may_be_narrow else 1
        return RawPicture(grey, opaque_where(grey != transparent * factor))
    if image.mode == "CMYK":
        return RawPicture(pixels(image, "CMYK"))
    if image.mode == "LA":
        pairs = pixels(image, "LA")
        return RawPicture(np.ascontiguousarray(pairs[:, :, 0]), np.ascontiguousarray(pairs[:, :, 1]))
    if image.mode == "RGBA" or (image.mode == "P" and transparent is not None):
        rgba = pixels(image, "RGBA")
        return RawPicture(_array(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)), _array(cv2.extractChannel(rgba, 3)))
    rgb = pixels(image, "RGB")
    if transparent is None or image.mode != "RGB":
        return RawPicture(rgb)
    return RawPicture(rgb, opaque_where((rgb != np.array(transparent)).any(axis=2)))


def pixels(image: Image.Image, mode: str) -> Colours:
    """Copy a loaded picture's pixels out of Pillow, converted to a mode of 8 bits.

    Copies in strips, which takes half the time and a third of the memory of one ``np.asarray``.
    """
    width, height = image.size
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    copied = np.empty((height, width, *channels), np.uint8)
    step = max(1, _STRIP_PX // width)
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(top + step, height)))
        copied[top : top + step] = np.asarray(strip if strip.mode == mode else strip.convert(mode))
    return copied


def opaque_where(is_opaque: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Grey:
    """Return an alpha of 255 where opaque and 0 elsewhere."""
    return is_opaque.astype(np.uint8) * np.uint8(255)


def _array(source: object) -> Colours:
    return np.asarray(source, dtype=np.uint8)

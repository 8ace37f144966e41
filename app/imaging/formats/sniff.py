"""Sniff: determines an upload's format, size and decoding cost from its bytes, without decoding.

Rule 1: the bytes decide, never a file name or a declared type.
Rule 2: every byte is read at most twice, and nothing is inflated: a 20 MB upload costs milliseconds, and
    never holds the interpreter lock for more than a fraction of one.
Rule 3: a file that is cut off is marked as such, so that the caller checks its size before its completeness.
Rule 4: a file that begins like a picture but has a header that no decoder would accept is not a picture. It
    is refused like any other file, with an error message that names the format it begins like.
"""

import importlib.util
import re
import struct
from dataclasses import dataclass

from app.errors import CorruptPicture, PictureTooComplex, PictureTooLarge, UnsupportedFormat, printable
from app.imaging.formats.bmp import BMP_MAGIC, BMP_MIN_BYTES, bmp_size
from app.imaging.formats.chunks import is_ancillary, is_intact
from app.imaging.formats.coded import measure
from app.imaging.formats.containers import (
    GIF_MAGICS,
    JPEG_MAGIC,
    PNG_MAGIC,
    Segment,
    gif_blocks,
    has_image_data,
    is_riff_whole,
    png_chunks,
    webp_chunks,
)
from app.imaging.formats.isobmff import (
    AVIF_BRANDS,
    HEIC_BRANDS,
    SEQUENCE_BRANDS,
    STRUCTURAL_BRANDS,
    brands,
    main_kind,
)
from app.imaging.formats.jpeg_header import InvalidHeaderError, jpeg_frame

_READS_HEIC = importlib.util.find_spec("pillow_heif") is not None  # the extra [heif]
ACCEPTED = (
    *("image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/bmp"),
    *(("image/heic", "image/heif") if _READS_HEIC else ()),
)

MAX_FRAMES = 10_000  # an animation of minutes has thousands; only the first is decoded

_PNG_DEPTH_AT = 24  # of the byte with the bits a sample, in a PNG
_MAX_CHECKED_BYTES = 64 * 1024  # of a chunk whose checksum is verified

_KINDS = {b"av01": "avif", b"hvc1": "heic", b"hev1": "heic"}  # by the coding of the main picture
_SHORT_CONTROL = re.compile(rb"\xf9[\x01-\x03]")  # of a GIF: a graphic control block has four bytes


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture's container; the size is as stored, before any EXIF orientation.

    ``is_whole`` is false if the container's end is missing; decoding then fails. ``is_animated`` is true if
    frames follow the first. ``coded_px`` is the number of pixels that decoding makes, if it exceeds the
    picture's own. ``is_cmyk`` is true if a JPEG has four inks a pixel, ``is_deep`` if a PNG has 16 bits a
    sample.
    """

    format: str
    width_px: int
    height_px: int
    media_type: str
    is_whole: bool = True
    is_animated: bool = False
    coded_px: int = 0
    is_cmyk: bool = False
    is_deep: bool = False

    @property
    def held_px(self) -> int:
        """Maximum number of pixels that decoding holds: the picture's, or those that it is cropped from."""
        return max(self.width_px * self.height_px, self.coded_px)


def sniff(upload: bytes) -> Header:
    """Read format and size from the bytes of an upload, without decoding.

    Raises:
        UnsupportedFormat: The bytes do not begin with the header of a picture of an accepted type.
        CorruptPicture: The upload is empty, a JPEG ends before its frame, or an AVIF contradicts itself.
        PictureTooComplex: Decoding would cost far more than the picture's pixels.
    """
    if not upload:
        raise CorruptPicture("The upload is empty.")
    if upload.startswith(JPEG_MAGIC):
        return _sniff_jpeg(upload)
    if upload.startswith(PNG_MAGIC):
        return _sniff_png(upload)
    if upload[:4] == b"RIFF" and upload[8:12] == b"WEBP":
        return _sniff_webp(upload)
    if upload.startswith(GIF_MAGICS):
        return _sniff_gif(upload)
    if upload.startswith(BMP_MAGIC) and len(upload) >= BMP_MIN_BYTES:
        return Header("bmp", *_checked("BMP", *bmp_size(upload)), "image/bmp")
    return _sniff_heif(upload, brands(upload))


def begins_picture(upload: bytes) -> bool:
    """Return whether bytes begin like a picture of any type that ``sniff`` supports, whole or not."""
    is_webp = upload[:4] == b"RIFF" and upload[8:12] == b"WEBP"
    is_bmp = upload.startswith(BMP_MAGIC) and len(upload) >= BMP_MIN_BYTES
    is_known = upload.startswith((JPEG_MAGIC, PNG_MAGIC, *GIF_MAGICS))
    return is_known or is_webp or is_bmp or bool(brands(upload) & (AVIF_BRANDS | HEIC_BRANDS))


def check_size(header: Header, *, limit_px: int, limit_side_px: int) -> None:
    """Refuse a picture that has too many pixels or too long a side, or is cropped from too many pixels.

    The tiles of a grid extend beyond its borders, those of a phone's 48 megapixels by 3 %: an excess of a
    twentieth is allowed, and counts in ``held_px``.

    Raises:
        PictureTooLarge: The picture exceeds one of the two limits.
    """
    longest_px = max(header.width_px, header.height_px)
    is_coded_larger = header.coded_px > limit_px + limit_px // 20
    if header.width_px * header.height_px > limit_px or longest_px > limit_side_px or is_coded_larger:
        raise PictureTooLarge(
            header.width_px, header.height_px, limit_px=limit_px, limit_side_px=limit_side_px
        )


def _sniff_jpeg(upload: bytes) -> Header:
    try:
        width_px, height_px, components = jpeg_frame(upload)
    except InvalidHeaderError as error:
        raise _no_picture("JPEG") from error
    # The decoder detects missing pixels itself.
    return Header("jpeg", width_px, height_px, "image/jpeg", is_cmyk=components == 4)


def _sniff_png(upload: bytes) -> Header:
    first_bytes, first = int.from_bytes(upload[8:12], "big"), upload[12:16]
    is_named = len(first) == 4 and first.isalpha()
    if is_named and (len(upload) < 16 + first_bytes or (first == b"IHDR" and first_bytes < 13)):
        raise CorruptPicture("The PNG file is cut off within its first chunk.")
    if first != b"IHDR" or len(upload) < 33 or not is_intact(upload, Segment(first, 16, 29)):
        raise _no_picture("PNG")
    size = _checked("PNG", *struct.unpack_from(">II", upload, 16))
    names, end = set(), len(PNG_MAGIC)
    for chunk in png_chunks(upload):
        if b"IDAT" not in names:
            _check_chunk(upload, chunk)
        names.add(chunk.name)
        end = chunk.end + 4
        if chunk.name == b"acTL" and chunk.end - chunk.start == 8 and is_intact(upload, chunk):
            _check_frames(int.from_bytes(upload[chunk.start : chunk.start + 4], "big"))
    if not names & {b"IDAT", b"IEND"} and not upload[end + 4 : end + 8].isalpha():
        raise _no_picture("PNG")
    is_whole, is_animated, is_deep = b"IEND" in names, b"fdAT" in names, upload[_PNG_DEPTH_AT] == 16
    return Header("png", *size, "image/png", is_whole, is_animated, is_deep=is_deep)


def _check_chunk(upload: bytes, chunk: Segment) -> None:
    """Check a chunk before the picture's data: a broken critical one makes the file invalid."""
    if not chunk.name.isalpha():
        raise _no_picture("PNG")
    is_long = chunk.end - chunk.start > _MAX_CHECKED_BYTES
    if is_long or chunk.name == b"IDAT" or is_ancillary(chunk) or is_intact(upload, chunk):
        return
    raise _no_picture("PNG")


def _check_frames(frames: int) -> None:
    if MAX_FRAMES < frames <= 2**31:  # a larger number is invalid, and the picture is a still one
        raise PictureTooComplex(f"The PNG file declares {frames} frames. Send one of them.")


def _sniff_webp(upload: bytes) -> Header:
    if len(upload) < 30:
        raise _no_picture("WebP")
    size = _checked("WebP", *_webp_size(upload))
    frames = sum(chunk.name == b"ANMF" for chunk in webp_chunks(upload))
    return Header("webp", *size, "image/webp", is_whole=is_riff_whole(upload), is_animated=frames > 1)


def _webp_size(upload: bytes) -> tuple[int, int]:
    """Read (width, height) from the first chunk: lossy (VP8), lossless (VP8L) or extended (VP8X)."""
    kind = upload[12:16]
    if kind == b"VP8 " and upload[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", upload, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and upload[20] == 0x2F:
        bits = int.from_bytes(upload[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width_less_1 = int.from_bytes(upload[24:27], "little")
        return width_less_1 + 1, int.from_bytes(upload[27:30], "little") + 1
    raise _no_picture("WebP")


def _sniff_gif(upload: bytes) -> Header:
    """Sniff a GIF; a first frame that extends beyond the declared screen enlarges it, as in Pillow."""
    if len(upload) < 13:
        raise _no_picture("GIF")
    width_px, height_px = struct.unpack_from("<HH", upload, 6)
    frames, ends = 0, False
    for block in gif_blocks(upload):
        ends = block.name == b";"
        frames += block.name == b","
        if frames == 0 and block.name == b"!" and _SHORT_CONTROL.match(upload, block.start):
            raise _no_picture("GIF")
        if frames == 1 and block.name == b",":
            if not has_image_data(upload, block):
                raise _no_picture("GIF")
            left, top, wide, high = struct.unpack_from("<HHHH", upload, block.start)
            width_px, height_px = max(width_px, left + wide), max(height_px, top + high)
        if frames == 2:
            break
    if frames == 0:
        raise _no_picture("GIF")
    # The decoder detects missing pixels itself, but a file that ends after its last block lacks its end.
    is_whole = ends or frames > 1 or not upload.endswith(b"\x00")
    size = _checked("GIF", width_px, height_px)
    return Header("gif", *size, "image/gif", is_whole=is_whole, is_animated=frames > 1)


def _sniff_heif(upload: bytes, declared_brands: frozenset[bytes]) -> Header:
    """Sniff an AVIF or HEIC, distinguished by its brands or, failing that, its main picture's coding."""
    if not declared_brands & (AVIF_BRANDS | HEIC_BRANDS | STRUCTURAL_BRANDS):
        raise UnsupportedFormat(ACCEPTED)
    kind = "avif" if declared_brands & AVIF_BRANDS else "heic"
    if not declared_brands & (AVIF_BRANDS | HEIC_BRANDS):
        coding = main_kind(upload)
        if coding not in _KINDS:
            named = printable(coding.decode("latin-1"))
            raise UnsupportedFormat(ACCEPTED, remedy=f"The file is a HEIF whose picture is coded as {named}.")
        kind = _KINDS[coding]
    if kind == "heic" and not _READS_HEIC:
        raise UnsupportedFormat(ACCEPTED, remedy="HEIC and HEIF need the extra cutout-server[heif].")
    coded = measure(upload)
    width_px, height_px = _checked(kind.upper(), coded.width_px, coded.height_px)
    coded_px = coded.coded_px if coded.coded_px > width_px * height_px else 0
    is_animated = bool(declared_brands & SEQUENCE_BRANDS)
    return Header(kind, width_px, height_px, f"image/{kind}", is_animated=is_animated, coded_px=coded_px)


def _no_picture(kind: str) -> UnsupportedFormat:
    return UnsupportedFormat(
        ACCEPTED,
        remedy=f"The file begins like a {kind}, but its header is broken, cut off or of a rare kind.",
    )


def _checked(kind: str, width_px: int, height_px: int) -> tuple[int, int]:
    if width_px == 0 or height_px == 0:
        raise _no_picture(kind)
    return width_px, height_px

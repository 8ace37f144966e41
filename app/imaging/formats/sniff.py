"""Sniff: the bytes of an upload tell its format, size and cost before anything is decoded.

Rule 1: the bytes decide, never a file name or a declared type.
Rule 2: every byte is looked at once or twice, and nothing is inflated: a 20 MB upload costs milliseconds,
and never holds the interpreter for more than a fraction of one.
Rule 3: a file that is cut off is marked as such, so that its size is judged before its wholeness.
Rule 4: what begins like a picture but has a header that no decoder would believe is no picture. It is refused
like any other file, though the answer says what it looked like.
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
    MIN_MARKER,
    PNG_MAGIC,
    Part,
    gif_blocks,
    has_image_data,
    is_riff_whole,
    jpeg_segments,
    last_marker,
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
from app.imaging.formats.jpeg_scans import Scans

_READS_HEIC = importlib.util.find_spec("pillow_heif") is not None  # the extra [heif]
ACCEPTED = (
    *("image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/bmp"),
    *(("image/heic", "image/heif") if _READS_HEIC else ()),
)

# A repeated refinement scan costs 75 bytes to send and 0.44 ms per megapixel to decode, and no decoder
# limits them. Among 3,047 decodable JPEGs the most scans was 20, and the most scans × megapixels 97.5.
MAX_SCANS = 64
MAX_SCAN_MEGAPIXELS = 1000

MAX_FRAMES = 10_000  # an animation of minutes has thousands; only the first is looked at

_CHECKED_BYTES = 64 * 1024

_KINDS = {b"av01": "avif", b"hvc1": "heic", b"hev1": "heic"}  # by the coding of the main picture
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn without DHT, JPG and DAC
_SOS, _DQT = 0xDA, 0xDB
_SHORT_CONTROL = re.compile(rb"\xf9[\x01-\x03]")  # of a GIF: a graphic control block has four bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's container says: its size is as stored, before any EXIF orientation.

    ``is_whole`` is false where the container's end is missing; decoding then fails. ``is_animated`` is
    true where there are frames beside the first. ``coded_px`` is how many pixels decoding makes of it, where
    those are more than the picture has.
    """

    format: str
    width_px: int
    height_px: int
    media_type: str
    is_whole: bool = True
    is_animated: bool = False
    coded_px: int = 0

    @property
    def held_px(self) -> int:
        """How many pixels decoding may hold: the picture's, or those that it is cut out of."""
        return max(self.width_px * self.height_px, self.coded_px)


def sniff(upload: bytes) -> Header:
    """Read format and size from the bytes of an upload, without decoding.

    Raises:
        UnsupportedFormat: The bytes do not begin with the header of a picture of an accepted type.
        CorruptPicture: There are none, a JPEG ends before its frame, or an AVIF contradicts itself.
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
    """Return whether bytes begin like a picture of any type that ``sniff`` knows, whole or not."""
    is_webp = upload[:4] == b"RIFF" and upload[8:12] == b"WEBP"
    is_bmp = upload.startswith(BMP_MAGIC) and len(upload) >= BMP_MIN_BYTES
    is_known = upload.startswith((JPEG_MAGIC, PNG_MAGIC, *GIF_MAGICS))
    return is_known or is_webp or is_bmp or bool(brands(upload) & (AVIF_BRANDS | HEIC_BRANDS))


def check_size(header: Header, *, limit_px: int, limit_side_px: int) -> None:
    """Refuse a picture that has too many pixels or too long a side, or is cut out of too many pixels.

    The tiles of a grid reach beyond its borders, those of a phone's 48 megapixels by 3 %: a twentieth is let
    through, and counts in ``held_px``.

    Raises:
        PictureTooLarge: It exceeds one of the two limits.
    """
    longest_px = max(header.width_px, header.height_px)
    is_coded_larger = header.coded_px > limit_px + limit_px // 20
    if header.width_px * header.height_px > limit_px or longest_px > limit_side_px or is_coded_larger:
        raise PictureTooLarge(
            header.width_px, header.height_px, limit_px=limit_px, limit_side_px=limit_side_px
        )


def _sniff_jpeg(upload: bytes) -> Header:
    size: tuple[int, int] | None = None
    scans, observed, end = 0, Scans(), 2
    for segment in jpeg_segments(upload):
        marker, end = segment.name[0], segment.end
        observed.see(upload, segment)
        if scans == 0 and marker < MIN_MARKER:
            raise _no_picture("JPEG")
        if marker in _FRAME_MARKERS and size is None:
            size = _frame_size(upload[segment.start : min(segment.end, segment.start + 6)])
        if marker == _DQT and not _is_quantization_table(upload[segment.start : segment.end]):
            raise _no_picture("JPEG")
        if marker == _SOS:
            scans += 1
            _check_scans(scans, size)
            if observed.is_sequential and observed.are_complete:
                break  # no decoder reads further scans, and what follows may be anything
    if size is None or scans == 0:
        cut_off = last_marker(upload, end)
        if cut_off >= MIN_MARKER or (size is not None and not cut_off):
            raise CorruptPicture("The JPEG file is cut off before its picture.")
        raise _no_picture("JPEG")
    return Header("jpeg", *size, "image/jpeg")  # the decoder notices missing pixels itself


def _frame_size(frame: bytes) -> tuple[int, int]:
    """Read (width, height) of a frame header; samples have 8 bits, and there are 1, 3 or 4 a pixel."""
    if len(frame) < 6:
        raise _no_picture("JPEG")
    bits, height_px, width_px, components = struct.unpack(">BHHB", frame)
    if bits != 8 or components not in (1, 3, 4):
        raise _no_picture("JPEG")
    return _checked("JPEG", width_px, height_px)


def _is_quantization_table(payload: bytes) -> bool:
    """Return whether a DQT segment holds whole tables of 64 numbers, of one byte or two each."""
    position = 0
    while position < len(payload):
        position += 1 + (128 if payload[position] >> 4 else 64)
    return position == len(payload)


def _check_scans(scans: int, size: tuple[int, int] | None) -> None:
    if size is None:
        raise _no_picture("JPEG")
    megapixels = size[0] * size[1] / 1e6
    # One scan is what the pixels cost; if those are too many, that is for the limit on pixels to say.
    if scans > MAX_SCANS or (scans > 1 and scans * megapixels > MAX_SCAN_MEGAPIXELS):
        raise PictureTooComplex(
            f"The JPEG file holds more scans than its {megapixels:.1f} megapixels warrant. "
            "Save it as a baseline JPEG."
        )


def _sniff_png(upload: bytes) -> Header:
    first_bytes, first = int.from_bytes(upload[8:12], "big"), upload[12:16]
    is_named = len(first) == 4 and first.isalpha()
    if is_named and (len(upload) < 16 + first_bytes or (first == b"IHDR" and first_bytes < 13)):
        raise CorruptPicture("The PNG file is cut off within its first chunk.")
    if first != b"IHDR" or len(upload) < 33 or not is_intact(upload, Part(first, 16, 29)):
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
    return Header("png", *size, "image/png", is_whole=b"IEND" in names, is_animated=b"fdAT" in names)


def _check_chunk(upload: bytes, chunk: Part) -> None:
    """Look at a chunk before the picture's data: a broken critical one makes the file no picture."""
    if not chunk.name.isalpha():
        raise _no_picture("PNG")
    is_long = chunk.end - chunk.start > _CHECKED_BYTES
    if is_long or chunk.name == b"IDAT" or is_ancillary(chunk) or is_intact(upload, chunk):
        return
    raise _no_picture("PNG")


def _check_frames(frames: int) -> None:
    if MAX_FRAMES < frames <= 2**31:  # a number beyond that is none, and the picture is a still one
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
    """Sniff a GIF; a first frame that reaches beyond the declared screen widens it, as the reader does."""
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
    # The decoder notices missing pixels itself, but a file that stops after its last block has lost its end.
    is_whole = ends or frames > 1 or not upload.endswith(b"\x00")
    size = _checked("GIF", width_px, height_px)
    return Header("gif", *size, "image/gif", is_whole=is_whole, is_animated=frames > 1)


def _sniff_heif(upload: bytes, claimed: frozenset[bytes]) -> Header:
    """Sniff an AVIF or HEIC; where its brands leave open which it is, its main picture tells."""
    if not claimed & (AVIF_BRANDS | HEIC_BRANDS | STRUCTURAL_BRANDS):
        raise UnsupportedFormat(ACCEPTED)
    kind = "avif" if claimed & AVIF_BRANDS else "heic"
    if not claimed & (AVIF_BRANDS | HEIC_BRANDS):
        coding = main_kind(upload)
        if coding not in _KINDS:
            named = printable(coding.decode("latin-1"))
            raise UnsupportedFormat(ACCEPTED, remedy=f"The file is a HEIF whose picture is coded as {named}.")
        kind = _KINDS[coding]
    if kind == "heic" and not _READS_HEIC:
        raise UnsupportedFormat(ACCEPTED, remedy="HEIC and HEIF need the extra cutout-server[heif].")
    coded = measure(upload)
    width_px, height_px = _checked(kind.upper(), coded.width_px, coded.height_px)
    beyond_px = coded.coded_px if coded.coded_px > width_px * height_px else 0
    is_animated = bool(claimed & SEQUENCE_BRANDS)
    return Header(kind, width_px, height_px, f"image/{kind}", is_animated=is_animated, coded_px=beyond_px)


def _no_picture(kind: str) -> UnsupportedFormat:
    return UnsupportedFormat(
        ACCEPTED,
        remedy=f"The file begins like a {kind}, but its header is broken, cut off or of a rare kind.",
    )


def _checked(kind: str, width_px: int, height_px: int) -> tuple[int, int]:
    if width_px == 0 or height_px == 0:
        raise _no_picture(kind)
    return width_px, height_px

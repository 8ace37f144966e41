"""JPEG header: reads the frame of a JPEG from its segments, and refuses one with too many scans."""

import struct
from typing import NamedTuple

from app.errors import CorruptPicture, PictureTooComplex
from app.imaging.formats.containers import MIN_MARKER, jpeg_segments, last_marker
from app.imaging.formats.jpeg_scans import Scans

# A repeated refinement scan costs 75 bytes to send and 0.44 ms per megapixel to decode, and no decoder
# limits them. Among 3,047 decodable JPEGs the maximum was 20 scans, and 97.5 scans × megapixels.
MAX_SCANS = 64
MAX_SCAN_MEGAPIXELS = 1000

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn without DHT, JPG and DAC
_SOS, _DQT = 0xDA, 0xDB


class InvalidHeaderError(ValueError):
    """The header is broken, cut off or of a rare kind, so the file is not a picture."""


class JpegFrame(NamedTuple):
    """The size of a JPEG, and the number of its colour components."""

    width_px: int
    height_px: int
    components: int


def jpeg_frame(upload: bytes) -> JpegFrame:
    """Read the frame of a JPEG, and check its segments up to the last scan that a decoder reads.

    Raises:
        InvalidHeaderError: The file is not a picture, or not of a kind that decoders support.
        CorruptPicture: The file is cut off before its picture.
        PictureTooComplex: The file has too many scans, or too many segments.
    """
    frame: JpegFrame | None = None
    scan_count, scans, end = 0, Scans(), 2
    for segment in jpeg_segments(upload):
        marker, end = segment.name[0], segment.end
        scans.record(upload, segment)
        if scan_count == 0 and marker < MIN_MARKER:
            raise InvalidHeaderError
        if marker in _FRAME_MARKERS and frame is None:
            frame = _read_frame(upload[segment.start : min(segment.end, segment.start + 6)])
        if marker == _DQT and not _is_quantization_table(upload[segment.start : segment.end]):
            raise InvalidHeaderError
        if marker == _SOS:
            scan_count += 1
            _check_scans(scan_count, frame)
            if scans.is_sequential and scans.are_complete:
                break  # no decoder reads further scans, and any bytes may follow
    if frame is None or scan_count == 0:
        cut_off = last_marker(upload, end)
        if cut_off >= MIN_MARKER or (frame is not None and not cut_off):
            raise CorruptPicture("The JPEG file is cut off before its picture.")
        raise InvalidHeaderError
    return frame


def _read_frame(header: bytes) -> JpegFrame:
    """Read a frame header; samples have 8 bits, and there are 1, 3 or 4 a pixel."""
    if len(header) < 6:
        raise InvalidHeaderError
    bits, height_px, width_px, components = struct.unpack(">BHHB", header)
    if bits != 8 or components not in (1, 3, 4) or width_px == 0 or height_px == 0:
        raise InvalidHeaderError
    return JpegFrame(width_px, height_px, components)


def _is_quantization_table(payload: bytes) -> bool:
    """Return whether a DQT segment consists of whole tables of 64 numbers, of one byte or two each."""
    position = 0
    while position < len(payload):
        position += 1 + (128 if payload[position] >> 4 else 64)
    return position == len(payload)


def _check_scans(scan_count: int, frame: JpegFrame | None) -> None:
    if frame is None:
        raise InvalidHeaderError
    megapixels = frame.width_px * frame.height_px / 1e6
    # One scan costs what the pixels cost, which the limit on pixels bounds.
    if scan_count > MAX_SCANS or (scan_count > 1 and scan_count * megapixels > MAX_SCAN_MEGAPIXELS):
        raise PictureTooComplex(
            f"The JPEG file holds more scans than its {megapixels:.1f} megapixels warrant. "
            "Save it as a baseline JPEG."
        )

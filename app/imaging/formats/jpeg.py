"""JPEG: decodes valid files strictly with libjpeg-turbo, and irregular ones only if no pixels are missing.

Rule 1: bytes after the end marker are ignored: a video, a gain map, padding.
Rule 2: a file without its end marker is accepted if all of its pixels are present. A strict decoder decides,
    which stops at its first warning: a warning about missing data means missing pixels; one about extraneous
    bytes before the end means that all pixels had been decoded.
Rule 3: an end marker does not prove that the pixels are present. If the data breaks off before it, the
    missing blocks are grey down to the last one, unless restart markers let the decoder resynchronise; in a
    progressive file the missing part of a scan cannot be detected from the pixels.
Rule 4: zeros after the last data do not count as data, if the strict decoder accepts the file only without
    them: a download that broke off in a preallocated file ends like this, and zeros decode to grey.
"""

from dataclasses import replace

import numpy as np

from app.errors import CorruptPicture
from app.imaging.formats.containers import jpeg_segments
from app.imaging.formats.fast_decoders import UnusualJpegError, read_jpeg_strictly
from app.imaging.formats.jpeg_scans import Ending, Scans, find_ending, is_progressive
from app.imaging.formats.pillow import read_with_pillow
from app.imaging.formats.raw_picture import RawPicture
from app.imaging.formats.sniff import Header

END_MARKER_MISSING = "end_marker_missing"
DATA_DAMAGED = "data_damaged"

_EOI = b"\xff\xd9"
_EXTRANEOUS = "extraneous bytes before marker 0xd9"
_INCOMPLETE = ("premature end of data segment", "found marker 0xd9 instead of RST")
_DAMAGE = ("premature end of data segment", "bad Huffman code", "bad progression", "found marker")
_BLANK = (127, 128)  # values of any channel in a block without data
_CUT_OFF = "The picture's file is cut off."
_BREAKS_OFF = "The JPEG file's data breaks off before its picture is complete, though an end marker follows."
_APP0, _SOS, _DRI = b"\xe0", b"\xda", b"\xdd"
_ALL_COEFFICIENTS = bytes((0, 63, 0))


def read_jpeg(upload: bytes, header: Header) -> RawPicture:
    """Read a JPEG.

    Raises:
        CorruptPicture: The file lacks pixels, or its size is not the one that its header declares.
        READER_ERRORS: The data is broken.
    """
    try:
        raw = read_jpeg_strictly(upload, header)
    except ValueError as error:
        return _read_irregular(upload, header, str(error))
    lacks_scans = is_progressive(upload) and not find_ending(upload).has_all_scans
    return replace(raw, warnings=(DATA_DAMAGED,)) if lacks_scans else raw


def _read_irregular(upload: bytes, header: Header, warning: str) -> RawPicture:
    """Read a JPEG that the strict decoder refuses with a warning or error."""
    ending = find_ending(upload)
    if not ending.is_marked:
        return _read_unmarked(upload, header, ending)
    raw = read_with_pillow(upload, header)
    regular = _regularised(upload)
    if regular is not upload:
        warning = _first_warning(regular, header)
    if any(text in warning for text in _INCOMPLETE):
        is_last_block_blank = bool(np.isin(raw.colours[-1, -1], _BLANK).all())
        if is_last_block_blank or not ending.has_all_scans or is_progressive(upload):
            raise CorruptPicture(_BREAKS_OFF)
    is_damaged = any(text in warning for text in _DAMAGE)
    return replace(raw, warnings=(DATA_DAMAGED,)) if is_damaged else raw


def _first_warning(upload: bytes, header: Header) -> str:
    """Return the strict decoder's first warning or error, empty without one."""
    try:
        read_jpeg_strictly(upload, header)
    except ValueError as error:
        return str(error)
    return ""


def _read_unmarked(upload: bytes, header: Header, ending: Ending) -> RawPicture:
    """Read a JPEG whose end marker is missing."""
    if not ending.has_all_scans:
        raise CorruptPicture(_CUT_OFF)
    try:
        raw = _read_data(upload[: ending.position].rstrip(b"\xff"), header)
    except UnusualJpegError:
        raw = read_with_pillow(upload, header)  # refuses missing data as well
    except ValueError as error:
        if not ending.is_followed:
            raise CorruptPicture(_CUT_OFF) from error
        return replace(read_with_pillow(upload, header), warnings=(END_MARKER_MISSING, DATA_DAMAGED))
    return replace(raw, warnings=(END_MARKER_MISSING,))


def _read_data(data: bytes, header: Header) -> RawPicture:
    """Read a JPEG that lacks its end marker, if all of its pixels are present.

    Raises:
        UnusualJpegError: Pillow must read the file, by its header.
        ValueError: The file lacks pixels.
    """
    regular = _regularised(data)
    try:
        return read_jpeg_strictly(regular + _EOI, header)
    except ValueError as error:
        if _EXTRANEOUS not in str(error):
            raise
    if regular.endswith(b"\x00"):
        regular = regular.rstrip(b"\x00")
        regular += b"\x00" if regular.endswith(b"\xff") else b""  # a stuffed byte
    try:
        return read_jpeg_strictly(regular + _EOI, header)
    except ValueError as error:
        # Extraneous bytes can also precede a restart marker.
        if _EXTRANEOUS not in str(error) or any(segment.name == _DRI for segment in jpeg_segments(regular)):
            raise
    return read_with_pillow(regular + _EOI, header)


def _regularised(upload: bytes) -> bytes:
    """Correct header fields that the strict decoder warns about first, and that every decoder ignores.

    These are a JFIF version other than 1, and a sequential scan that declares a part of the coefficients.
    """
    changes, scans = {}, Scans()
    for segment in jpeg_segments(upload):
        scans.record(upload, segment)
        if segment.name == _APP0 and upload.startswith(b"JFIF\x00", segment.start):
            changes[segment.start + 5] = b"\x01"
        if segment.name == _SOS and scans.is_sequential and segment.end - segment.start >= 6:
            changes[segment.end - 3] = _ALL_COEFFICIENTS
    if all(upload.startswith(corrected, at) for at, corrected in changes.items()):
        return upload
    changed = bytearray(upload)
    for at, corrected in changes.items():
        changed[at : at + len(corrected)] = corrected
    return bytes(changed)

"""JPEG: read by libjpeg-turbo where the file is in order, and by what its end allows where it is not.

Rule 1: what follows the end marker is somebody else's: a video, a gain map, padding.
Rule 2: a file without its end marker is read where all of its pixels are there. That is for a strict decoder
    to say, which stops at its first complaint: about missing data, it means missing pixels; about bytes that
    are left over before the end, it means that all pixels had been read.
Rule 3: an end marker makes no pixels. Where data breaks off before it, the blocks that did not come are grey
    down to the last one, unless restart markers let the decoder find its way again; and of a progressive file
    there is no telling what a scan that breaks off would have brought.
Rule 4: zeros behind the last data are no data, if only without them the decoder is content: a download that
    broke off in a file of full length ends like this, and zeros decode to grey.
"""

from dataclasses import replace

import numpy as np

from app.errors import CorruptPicture
from app.imaging.formats.containers import jpeg_segments
from app.imaging.formats.fast_decoders import UnusualJpegError, read_jpeg_strictly
from app.imaging.formats.jpeg_scans import Ending, Scans, find_ending, is_progressive
from app.imaging.formats.pillow import read_by_pillow
from app.imaging.formats.raw_picture import Stored
from app.imaging.formats.sniff import Header

END_MARKER_MISSING = "end_marker_missing"
DATA_DAMAGED = "data_damaged"

_EOI = b"\xff\xd9"
_LEFT_OVER = "extraneous bytes before marker 0xd9"
_BROKEN_OFF = ("premature end of data segment", "found marker 0xd9 instead of RST")
_DAMAGE = ("premature end of data segment", "bad Huffman code", "bad progression", "found marker")
_BLANK = (127, 128)  # of any channel, where no data came
_CUT_OFF = "The picture's file is cut off."
_BREAKS_OFF = "The JPEG file's data breaks off before its picture is complete, though an end marker follows."
_APP0, _SOS, _DRI = b"\xe0", b"\xda", b"\xdd"
_ALL_COEFFICIENTS = bytes((0, 63, 0))


def read_jpeg(upload: bytes, header: Header) -> Stored:
    """Read a JPEG.

    Raises:
        CorruptPicture: It lacks pixels, or its size is not the one that its header declares.
        READER_ERRORS: Its data is broken.
    """
    try:
        stored = read_jpeg_strictly(upload, header)
    except ValueError as error:
        return _read_odd(upload, header, str(error))
    lacks_scans = is_progressive(upload) and not find_ending(upload).has_all_scans
    return replace(stored, warnings=(DATA_DAMAGED,)) if lacks_scans else stored


def _read_odd(upload: bytes, header: Header, complaint: str) -> Stored:
    """Read a JPEG that a strict decoder complains about."""
    ending = find_ending(upload)
    if not ending.is_marked:
        return _read_unmarked(upload, header, ending)
    stored = read_by_pillow(upload, header)
    in_order = _in_order(upload)
    if in_order is not upload:
        complaint = _complaint_about(in_order, header)
    if any(sign in complaint for sign in _BROKEN_OFF):
        is_last_block_blank = bool(np.isin(stored.colours[-1, -1], _BLANK).all())
        if is_last_block_blank or not ending.has_all_scans or is_progressive(upload):
            raise CorruptPicture(_BREAKS_OFF)
    is_damaged = any(sign in complaint for sign in _DAMAGE)
    return replace(stored, warnings=(DATA_DAMAGED,)) if is_damaged else stored


def _complaint_about(upload: bytes, header: Header) -> str:
    """Return the first complaint of a strict decoder, empty where it has none."""
    try:
        read_jpeg_strictly(upload, header)
    except ValueError as error:
        return str(error)
    return ""


def _read_unmarked(upload: bytes, header: Header, ending: Ending) -> Stored:
    """Read a JPEG whose end marker is missing."""
    if not ending.has_all_scans:
        raise CorruptPicture(_CUT_OFF)
    try:
        stored = _read_data(upload[: ending.position].rstrip(b"\xff"), header)
    except UnusualJpegError:
        stored = read_by_pillow(upload, header)  # which lets no data be missing either
    except ValueError as error:
        if not ending.is_followed:
            raise CorruptPicture(_CUT_OFF) from error
        return replace(read_by_pillow(upload, header), warnings=(END_MARKER_MISSING, DATA_DAMAGED))
    return replace(stored, warnings=(END_MARKER_MISSING,))


def _read_data(data: bytes, header: Header) -> Stored:
    """Read a JPEG up to its end marker, all of its pixels.

    Raises:
        UnusualJpegError: Its header is for Pillow.
        ValueError: It lacks pixels.
    """
    found = _in_order(data)
    try:
        return read_jpeg_strictly(found + _EOI, header)
    except ValueError as error:
        if _LEFT_OVER not in str(error):
            raise
    if found.endswith(b"\x00"):
        found = found.rstrip(b"\x00")
        found += b"\x00" if found.endswith(b"\xff") else b""  # a stuffed byte
    try:
        return read_jpeg_strictly(found + _EOI, header)
    except ValueError as error:
        # Before a restart marker, too, bytes can be left over.
        if _LEFT_OVER not in str(error) or any(part.name == _DRI for part in jpeg_segments(found)):
            raise
    return read_by_pillow(found + _EOI, header)


def _in_order(found: bytes) -> bytes:
    """Put right what a strict decoder would complain about first, and no decoder minds.

    That is a JFIF version other than 1, and a sequential scan that claims to have a part of the coefficients.
    """
    changes, scans = {}, Scans()
    for segment in jpeg_segments(found):
        scans.see(found, segment)
        if segment.name == _APP0 and found.startswith(b"JFIF\x00", segment.start):
            changes[segment.start + 5] = b"\x01"
        if segment.name == _SOS and scans.is_sequential and segment.end - segment.start >= 6:
            changes[segment.end - 3] = _ALL_COEFFICIENTS
    if all(found.startswith(right, at) for at, right in changes.items()):
        return found
    changed = bytearray(found)
    for at, right in changes.items():
        changed[at : at + len(right)] = right
    return bytes(changed)

"""Containers: parses files by their specifications, independently of the application and of Pillow."""

import struct
import zlib
from collections.abc import Iterator

JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # TEM, RSTn, SOI
SOS, EOI = 0xDA, 0xD9
CONTAINER_BOXES = {b"iprp": 0, b"ipco": 0, b"meta": 4, b"iinf": 6, b"iref": 4}  # and bytes before the first


def png_chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, payload) of every chunk; checksums must hold and nothing may follow the last."""
    assert encoded.startswith(b"\x89PNG\r\n\x1a\n")
    position, chunks = 8, []
    while position < len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, position)
        payload = encoded[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", encoded, position + 8 + length)
        assert zlib.crc32(name + payload) == checksum
        chunks.append((name, payload))
        position += 12 + length
    assert position == len(encoded)
    assert chunks[-1] == (b"IEND", b"")
    return chunks


def jpeg_markers(encoded: bytes) -> list[tuple[int, bytes]]:
    """Return (marker, payload) of every segment up to the end marker, after which nothing may follow."""
    assert encoded.startswith(b"\xff\xd8")
    position, segments = 2, []
    while True:
        assert encoded[position] == 0xFF
        marker = encoded[position + 1]
        position += 2
        if marker == EOI:
            assert position == len(encoded)
            return segments
        assert marker not in JPEG_WITHOUT_LENGTH
        (length,) = struct.unpack_from(">H", encoded, position)
        segments.append((marker, encoded[position + 2 : position + length]))
        position += length
        if marker == SOS:
            position = _end_of_scan(encoded, position)


def _end_of_scan(encoded: bytes, position: int) -> int:
    """Skip coded data: a 0xFF in it is followed by 0x00 or a restart marker."""
    while True:
        position = encoded.index(b"\xff", position)
        if encoded[position + 1] not in (0x00, *range(0xD0, 0xD8)):
            return position
        position += 2


def riff_chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, payload) of every chunk of a WebP; its declared length must be the file's."""
    assert (encoded[:4], encoded[8:12]) == (b"RIFF", b"WEBP")
    assert struct.unpack_from("<I", encoded, 4)[0] + 8 == len(encoded)
    position, chunks = 12, []
    while position < len(encoded):
        name, length = struct.unpack_from("<4sI", encoded, position)
        chunks.append((name, encoded[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    assert position == len(encoded)
    return chunks


def isobmff_boxes(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, payload) of every box of an AVIF, nested ones included; they must fill the file."""
    return list(_boxes(encoded, 0, len(encoded)))


def _boxes(encoded: bytes, position: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    while position < end:
        length, name = struct.unpack_from(">I4s", encoded, position)
        assert 8 <= length <= end - position
        yield name, encoded[position + 8 : position + length]
        if name in CONTAINER_BOXES:
            yield from _boxes(encoded, position + 8 + CONTAINER_BOXES[name], position + length)
        position += length
    assert position == end

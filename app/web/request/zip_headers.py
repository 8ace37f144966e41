"""ZIP headers: parses what precedes and follows the content of one entry of a ZIP.

A ZIP is read here in the order of its bytes, without the central directory at its end, so only the local
headers count.

References:
    PKWARE, .ZIP File Format Specification (APPNOTE.TXT) 6.3.10, sections 4.3 to 4.6.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

LOCAL, DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
DIRECTORY = frozenset({b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08", b"PK\x05\x05"})
"""Signatures of what may follow the last entry."""
LOCAL_BYTES = 26
STORED, DEFLATED = 0, 8
MAX_DESCRIPTOR_BYTES = 24

_ENCRYPTED, _HAS_DESCRIPTOR, _IS_UTF8 = 1 << 0, 1 << 3, 1 << 11
_ZIP64_EXTRA, _UNICODE_PATH_EXTRA = 0x0001, 0x7075
_IN_ZIP64 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """The header before the content of an entry.

    Attributes:
        name: The name, decoded; U+FFFD stands for bytes that are not in its encoding.
        method: The compression method.
        is_encrypted: Whether the content is encrypted.
        has_descriptor: Whether checksum and sizes follow the content.
        crc: The checksum of the content, if there is no descriptor.
        compressed_bytes: The length of the content in the ZIP; ``None`` if only the descriptor has it.
        size_bytes: The declared size of the file; ``None`` if only the descriptor has it.
    """

    name: str
    method: int
    is_encrypted: bool
    has_descriptor: bool
    crc: int
    compressed_bytes: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What follows the content of an entry whose header has no sizes; ``length`` is its own length."""

    length: int
    crc: int
    compressed_bytes: int
    size_bytes: int


def name_lengths(fixed: bytes) -> tuple[int, int]:
    """Return the lengths of the name and of the extra field, from the fixed part of a local header."""
    name_bytes, extra_bytes = struct.unpack_from("<HH", fixed, 22)
    return name_bytes, extra_bytes


def read_local_header(fixed: bytes, raw_name: bytes, extra: bytes) -> LocalHeader:
    """Parse a local header from its fixed part (after the signature), its name and its extra field."""
    _, flags, method, _, _, crc, compressed, size = struct.unpack_from("<HHHHHIII", fixed)
    extras = dict(_extra_fields(extra))
    if _IN_ZIP64 in (compressed, size):
        size, compressed = _zip64_sizes(extras.get(_ZIP64_EXTRA, b""), size, compressed)
    has_descriptor = bool(flags & _HAS_DESCRIPTOR)
    is_unknown = has_descriptor and compressed == 0
    return LocalHeader(
        _decode_name(raw_name, extras.get(_UNICODE_PATH_EXTRA, b""), is_utf8=bool(flags & _IS_UTF8)),
        method,
        bool(flags & _ENCRYPTED),
        has_descriptor,
        crc,
        None if is_unknown else compressed,
        None if is_unknown else size,
    )


def descriptors(buffered: bytes) -> Iterator[Descriptor]:
    """Yield all ways to read a descriptor: with or without a signature, with sizes of 4 or 8 bytes."""
    with_signature = buffered.startswith(DESCRIPTOR)
    for start in (4, 0) if with_signature else (0,):
        for layout in ("<III", "<IQQ"):
            length = start + struct.calcsize(layout)
            if length <= len(buffered):
                yield Descriptor(length, *struct.unpack_from(layout, buffered, start))


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        yield kind, extra[position + 4 : position + 4 + length]
        position += 4 + length


def _zip64_sizes(field: bytes, size: int, compressed: int) -> tuple[int, int]:
    """Return both sizes; the field has, in this order, those that do not fit the header."""
    values = [value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
    if size == _IN_ZIP64 and values:
        size = values.pop(0)
    if compressed == _IN_ZIP64 and values:
        compressed = values.pop(0)
    return size, compressed


def _decode_name(raw: bytes, unicode_path: bytes, *, is_utf8: bool) -> str:
    """Decode a name: as UTF-8 if it is declared or valid, else as code page 437.

    macOS writes UTF-8 without declaring it. Info-ZIP adds the name in UTF-8 as an extra field, with the
    checksum of the name that it replaces.
    """
    if len(unicode_path) > 5 and struct.unpack_from("<I", unicode_path, 1)[0] == zlib.crc32(raw):
        return unicode_path[5:].decode("utf-8", "replace")
    if is_utf8:
        return raw.decode("utf-8", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")

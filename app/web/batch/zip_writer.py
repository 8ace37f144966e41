"""ZIP writer: the bytes of a ZIP of stored entries, entry by entry.

Sizes and checksums are in the header before each entry, so a client can read the ZIP while it arrives. An
entry and the whole ZIP may be larger than 4 GiB (ZIP64).

References:
    PKWARE, .ZIP File Format Specification (APPNOTE.TXT) 6.3.10, sections 4.3 to 4.5.
"""

import struct

_MAX_32, _MAX_16 = 0xFFFFFFFF, 0xFFFF
_VERSION, _VERSION_64 = 20, 45
_UTF8, _STORED = 1 << 11, 0
_EARLIEST_DATE = (1 << 5) | 1  # 1980-01-01: the same batch gives the same bytes
_MADE_BY_UNIX, _READABLE = 3 << 8, 0o100644 << 16


class ZipWriter:
    """Makes the headers of one ZIP; the caller writes each content after its header."""

    def __init__(self) -> None:
        self._directory: list[bytes] = []
        self._offset = 0

    def entry(self, name: str, *, size_bytes: int, crc: int) -> bytes:
        """Return the header of the next entry; ``size_bytes`` of content must follow."""
        encoded = name.encode()
        is_large = size_bytes >= _MAX_32
        extra = struct.pack("<HHQQ", 1, 16, size_bytes, size_bytes) if is_large else b""
        size = _MAX_32 if is_large else size_bytes
        version = _VERSION_64 if is_large else _VERSION
        shared = struct.pack(
            "<HHHHHIIIHH",
            *(version, _UTF8, _STORED, 0, _EARLIEST_DATE, crc, size, size, len(encoded)),
            len(extra),
        )
        self._add_to_directory(encoded, size_bytes, crc)
        header = b"PK\x03\x04" + shared + encoded + extra
        self._offset += len(header) + size_bytes
        return header

    def end(self) -> bytes:
        """Return the directory, which ends the ZIP."""
        directory = b"".join(self._directory)
        count, offset = len(self._directory), self._offset
        large = b""
        if count >= _MAX_16 or offset >= _MAX_32 or len(directory) >= _MAX_32:
            versions = (_VERSION_64, _VERSION_64)
            fields = (44, *versions, 0, 0, count, count, len(directory), offset)
            large = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", *fields)
            large += b"PK\x06\x07" + struct.pack("<IQI", 0, offset + len(directory), 1)
        counts = (min(count, _MAX_16),) * 2
        sizes = (min(len(directory), _MAX_32), min(offset, _MAX_32))
        return directory + large + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, *counts, *sizes, 0)

    def _add_to_directory(self, name: bytes, size_bytes: int, crc: int) -> None:
        values = [value for value in (size_bytes, size_bytes, self._offset) if value >= _MAX_32]
        extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
        version = _VERSION_64 if values else _VERSION
        size, offset = min(size_bytes, _MAX_32), min(self._offset, _MAX_32)
        self._directory.append(
            b"PK\x01\x02"
            + struct.pack(
                "<HHHHHHIIIHHHHHII",
                *(_MADE_BY_UNIX | version, version, _UTF8, _STORED, 0, _EARLIEST_DATE, crc, size, size),
                *(len(name), len(extra), 0, 0, 0, _READABLE, offset),
            )
            + name
            + extra
        )

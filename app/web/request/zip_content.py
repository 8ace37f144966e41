"""ZIP content: checks the content of one entry of a ZIP while it is read: sizes, ratio and checksum."""

import zlib

from app.errors import CorruptPicture, CutoutError, EntryRefused, UploadTooLarge
from app.web.request.zip_headers import LocalHeader

SLICE_BYTES = 64 * 1024
MAX_RATIO, RATIO_FREE_BYTES = 200, 2**20
"""An entry that inflates to more than ``RATIO_FREE_BYTES`` may be this many times as large as in the ZIP."""


class ContentCheck:
    """The content of an entry so far.

    Attributes:
        header: The header of the entry.
        crc: The checksum of the content.
        size_bytes: The size of the content.
        compressed_bytes: The bytes of the ZIP that it was made of.
        error: Why the entry cannot be used.
    """

    def __init__(self, header: LocalHeader, limit_bytes: int) -> None:
        self.header = header
        self.crc = self.size_bytes = self.compressed_bytes = 0
        self.error: CutoutError | None = None
        self._limit_bytes = limit_bytes

    def inflate(self, inflater: "zlib._Decompress", compressed: bytes) -> tuple[bytes, bytes]:
        """Inflate up to ``SLICE_BYTES``; return them, and the compressed bytes that are left."""
        try:
            inflated = inflater.decompress(compressed, SLICE_BYTES)
        except zlib.error:
            self.fail(CorruptPicture("The entry of the ZIP is damaged: it cannot be inflated."))
            return b"", b""
        left = inflater.unconsumed_tail
        self.compressed_bytes += len(compressed) - len(left)
        return inflated, left

    def add(self, content: bytes) -> bool:
        """Count more content; return whether it can be used."""
        self.crc = zlib.crc32(content, self.crc)
        self.size_bytes += len(content)
        if self.size_bytes > self._limit_bytes:
            self.fail(UploadTooLarge(self._limit_bytes))
        elif is_bomb(self.size_bytes, self.compressed_bytes):
            self.fail(bomb_error())
        return self.error is None and bool(content)

    def fail(self, error: CutoutError) -> None:
        """Note an error; the first one counts."""
        self.error = self.error or error

    def matches(self, crc: int, size_bytes: int) -> bool:
        """Return whether the content has a checksum and a size."""
        return self.crc == crc and self.size_bytes == size_bytes


def is_bomb(size_bytes: int, compressed_bytes: int) -> bool:
    """Return whether a file is far larger than its compressed bytes."""
    return size_bytes > RATIO_FREE_BYTES and size_bytes > MAX_RATIO * compressed_bytes


def bomb_error() -> EntryRefused:
    """Return the error of such a file."""
    return EntryRefused(f"The file is more than {MAX_RATIO} times as large as its entry in the ZIP.")

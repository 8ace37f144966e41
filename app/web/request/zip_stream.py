"""ZIP stream: reads a ZIP entry by entry while it arrives, and holds no more than a slice of it.

No part of this module waits or reads: ``ZipStream.feed`` takes bytes and yields events. The content of an
entry is yielded in slices, checked against its checksum at the end.

Rule 1: an entry that cannot be used ends with an error of its own, and the next one is read, if its end can
be found: by its declared length, by the end of its deflate stream, or by a descriptor whose checksum and
length match what precedes it.
Rule 2: sizes are checked before the bytes are made: by declared sizes, then by a limit on what is inflated.
Rule 3: archives within the archive are files like others; they are not opened.
"""

import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from app.errors import CorruptArchive, CorruptPicture, CutoutError, EntryRefused, UploadTooLarge
from app.web.request.zip_content import RATIO_FREE_BYTES, SLICE_BYTES, ContentCheck, bomb_error, is_bomb
from app.web.request.zip_headers import (
    DEFLATED,
    DESCRIPTOR,
    DIRECTORY,
    LOCAL,
    LOCAL_BYTES,
    MAX_DESCRIPTOR_BYTES,
    STORED,
    LocalHeader,
    descriptors,
    name_lengths,
    read_local_header,
)

MAX_SIGNATURES = 4096
"""Signatures of a descriptor within a stored entry of unknown length, which each take time to check."""
TRUNCATED = "The ZIP ends in the middle of an entry, or before its directory."
NO_ZIP = "The body is neither a ZIP nor a multipart form."
NO_END = "The end of an entry of the ZIP cannot be found, so the rest of the ZIP cannot be read."


@dataclass(frozen=True, slots=True)
class EntryBegun:
    """An entry begins; with an ``error``, it cannot be used and has no content."""

    name: str
    error: CutoutError | None = None


@dataclass(frozen=True, slots=True)
class EntryContent:
    """A slice of the content of the current entry."""

    content: bytes


@dataclass(frozen=True, slots=True)
class EntryEnded:
    """The current entry has ended; with an ``error``, its content is unusable."""

    error: CutoutError | None = None


Event = EntryBegun | EntryContent | EntryEnded
_Reading = Generator[Event | None, None, None]
"""Yields events, and ``None`` when it needs more bytes."""


class ZipStream:
    """Reads one ZIP.

    Args:
        limit_bytes: The largest file.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._is_at_end = False
        self._is_skipping = False
        self._reading = self._read_all()

    def feed(self, received: bytes) -> Iterator[Event]:
        """Yield the events of more bytes; all of them must be taken before the next call.

        Raises:
            CorruptArchive: The bytes are no ZIP, or the rest of it cannot be read.
        """
        self._buffer += received
        while (event := next(self._reading)) is not None:
            yield event

    def close(self) -> Iterator[Event]:
        """Yield the last events, after the last bytes.

        Raises:
            CorruptArchive: The ZIP is truncated.
        """
        self._is_at_end = True
        yield from self.feed(b"")

    def skip_entry(self) -> None:
        """Drop the content of the entry that has just begun."""
        self._is_skipping = True

    def _read_all(self) -> _Reading:
        detail = NO_ZIP
        while (signature := (yield from self._take(4))) == LOCAL:
            yield from self._read_entry()
            detail = NO_END
        if signature not in DIRECTORY:
            raise CorruptArchive(detail)
        while True:
            self._buffer.clear()  # the directory, which is not needed
            yield None

    def _read_entry(self) -> _Reading:
        fixed = yield from self._take(LOCAL_BYTES)
        name_bytes, extra_bytes = name_lengths(fixed)
        raw_name = yield from self._take(name_bytes)
        extra = yield from self._take(extra_bytes)
        header = read_local_header(fixed, raw_name, extra)
        error = self._refusal(header)
        self._is_skipping = error is not None
        yield EntryBegun(header.name, error)
        if header.compressed_bytes is not None and self._is_skipping:
            yield from self._drop(header.compressed_bytes)
            if header.has_descriptor:
                yield from self._read_descriptor(None)
            yield EntryEnded()
            return
        if isinstance(error, EntryRefused):  # it cannot be inflated to find its end
            raise CorruptArchive(f"{error} {NO_END}")
        content = ContentCheck(header, self._limit_bytes)
        yield from (self._inflate(content) if header.method == DEFLATED else self._copy(content))
        yield EntryEnded(content.error)

    def _refusal(self, header: LocalHeader) -> CutoutError | None:
        """Return why an entry cannot be used, by its header alone."""
        size, compressed = header.size_bytes, header.compressed_bytes
        if header.is_encrypted:
            return EntryRefused("The entry is encrypted. Send it without a password.")
        if header.method not in (STORED, DEFLATED):
            return EntryRefused("The entry is neither stored nor deflated. Use one of the two methods.")
        if size is None or compressed is None:
            return None
        if size > self._limit_bytes or (header.method == STORED and compressed > self._limit_bytes):
            return UploadTooLarge(self._limit_bytes)
        return bomb_error() if is_bomb(size, compressed) else None

    def _take(self, count: int) -> Generator[Event | None, None, bytes]:
        """Take exactly ``count`` bytes."""
        while len(self._buffer) < count:
            yield from self._wait()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _wait(self) -> _Reading:
        if self._is_at_end:
            raise CorruptArchive(TRUNCATED)
        yield None

    def _drop(self, count: int) -> _Reading:
        while count > 0:
            dropped = min(count, len(self._buffer))
            del self._buffer[:dropped]
            count -= dropped
            if count > 0:
                yield from self._wait()

    def _slice(self, limit_bytes: int | None) -> Generator[Event | None, None, bytes]:
        """Take a slice of at least one byte, of at most ``limit_bytes``."""
        while not self._buffer:
            yield from self._wait()
        size = min(SLICE_BYTES, len(self._buffer))
        return (yield from self._take(size if limit_bytes is None else min(size, limit_bytes)))

    def _inflate(self, content: ContentCheck) -> _Reading:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        left = content.header.compressed_bytes
        pending, has_more = b"", False
        while not inflater.eof:
            if not pending and not has_more:
                if left == 0:
                    content.fail(CorruptPicture("The entry of the ZIP is truncated."))
                    break
                pending = yield from self._slice(left)
                left = None if left is None else left - len(pending)
            inflated, pending = content.inflate(inflater, pending)
            has_more = len(inflated) == SLICE_BYTES
            if content.add(inflated) and not self._is_skipping:
                yield EntryContent(inflated)
            if content.error is not None and not self._can_go_on(content):
                break
        if content.header.compressed_bytes is None:
            self._buffer[:0] = inflater.unused_data
            content.compressed_bytes -= len(inflater.unused_data)
        elif inflater.unused_data:
            content.fail(CorruptPicture("The entry of the ZIP is longer than its content."))
        yield from self._drop(left or 0)
        yield from self._check_end(content)

    def _can_go_on(self, content: ContentCheck) -> bool:
        """Return whether a failed entry must be inflated further, to find its end.

        Raises:
            CorruptArchive: Its end cannot be found.
        """
        if content.header.compressed_bytes is not None:
            return False
        is_damaged = isinstance(content.error, CorruptPicture)
        if is_damaged or content.size_bytes > 2 * self._limit_bytes + RATIO_FREE_BYTES:
            raise CorruptArchive(NO_END)
        return True

    def _copy(self, content: ContentCheck) -> _Reading:
        left = content.header.compressed_bytes
        if left is None:
            yield from self._copy_to_descriptor(content)
            return
        while left > 0:
            copied = yield from self._slice(left)
            left -= len(copied)
            content.compressed_bytes += len(copied)
            if content.add(copied) and not self._is_skipping:
                yield EntryContent(copied)
        yield from self._check_end(content)

    def _copy_to_descriptor(self, content: ContentCheck) -> _Reading:
        """Copy a stored entry of unknown length, up to the descriptor that matches what precedes it."""
        signatures = 0
        while signatures < MAX_SIGNATURES:
            while len(self._buffer) < MAX_DESCRIPTOR_BYTES and not self._is_at_end:
                yield None
            if len(self._buffer) < 16:
                raise CorruptArchive(TRUNCATED)
            if self._buffer.startswith(DESCRIPTOR):
                signatures += 1
                if self._matching(content) is not None:
                    yield from self._check_end(content)
                    return
            at = self._buffer.find(DESCRIPTOR, 1)
            end = at if at > 0 else max(1, len(self._buffer) - len(DESCRIPTOR) + 1)
            copied = yield from self._slice(end)
            content.compressed_bytes += len(copied)
            if content.add(copied) and not self._is_skipping:
                yield EntryContent(copied)
        raise CorruptArchive(NO_END)

    def _matching(self, content: ContentCheck) -> int | None:
        """Return the length of a descriptor at the start of the buffer that matches the content."""
        found = descriptors(bytes(self._buffer[:MAX_DESCRIPTOR_BYTES]))
        return next((each.length for each in found if content.matches(each.crc, each.size_bytes)), None)

    def _check_end(self, content: ContentCheck) -> _Reading:
        """Compare the content with its checksum, in the header or in the descriptor after it."""
        header = content.header
        if header.has_descriptor:
            yield from self._read_descriptor(content)
        elif not content.matches(header.crc, header.size_bytes or 0):
            content.fail(CorruptPicture("The entry of the ZIP does not match its checksum."))

    def _read_descriptor(self, content: ContentCheck | None) -> _Reading:
        """Skip a descriptor: the one that matches the content, else one that the next header follows."""
        while len(self._buffer) < MAX_DESCRIPTOR_BYTES + 4 and not self._is_at_end:
            yield None
        length = None if content is None else self._matching(content)
        if length is None:
            starts = bytes(self._buffer[: MAX_DESCRIPTOR_BYTES + 4])
            length = next(
                (each.length for each in descriptors(starts) if _is_header(starts[each.length :])), None
            )
            if content is not None:
                content.fail(CorruptPicture("The entry of the ZIP does not match its checksum."))
        if length is None:
            raise CorruptArchive(NO_END)
        yield from self._drop(length)


def _is_header(following: bytes) -> bool:
    return following[:4] == LOCAL or following[:4] in DIRECTORY

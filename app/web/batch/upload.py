"""Upload: finds the pictures and the fields in the body of a batch while it arrives.

A body is a ZIP of pictures, or a multipart form: fields first, then each picture as a file ``image``, or all
of them as a ZIP ``pictures``. Both yield the same events. No part of this module waits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import CorruptArchive, MalformedRequest, UploadTooLarge
from app.web.request.envelope import BACKDROP_FIELD, IMAGE_FIELDS
from app.web.request.forms import MULTIPART, kind_of
from app.web.request.multipart_stream import MultipartStream, PartBegun, PartContent, PartEvent
from app.web.request.zip_headers import DIRECTORY, LOCAL
from app.web.request.zip_stream import NO_ZIP, EntryBegun, EntryContent, EntryEnded, Event, ZipStream

ZIP_FIELD = "pictures"
MAX_FIELDS, MAX_FIELDS_BYTES = 2048, 512 * 1024
"""Of all fields of a form together, without the background picture."""
_START_BYTES = 4


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form."""

    name: str
    value: bytes


UploadEvent = Event | Field


class BatchUpload:
    """Reads the body of one batch.

    Args:
        content_type: The Content-Type of the request.
        limit_bytes: The largest picture.
    """

    def __init__(self, content_type: str, limit_bytes: int) -> None:
        self._content_type = content_type
        self._limit_bytes = limit_bytes
        self._start = b""
        self._zip: ZipStream | None = None
        self._form: _FormUpload | None = None

    def feed(self, received: bytes) -> Iterator[UploadEvent]:
        """Yield the events of more bytes; all of them must be taken before the next call.

        Raises:
            MalformedRequest, CorruptArchive: The body cannot be read any further.
        """
        if self._zip is None and self._form is None:
            self._start += received
            if len(self._start) < _START_BYTES:
                return
            received, self._start = self._start, b""
            self._open(received)
        if self._zip is not None:
            yield from self._zip.feed(received)
        elif self._form is not None:
            yield from self._form.feed(received)

    def close(self) -> Iterator[UploadEvent]:
        """Yield the last events, after the last bytes.

        Raises:
            MalformedRequest, CorruptArchive: The body is truncated, or too short.
        """
        if self._zip is not None:
            yield from self._zip.close()
        elif self._form is not None:
            self._form.close()
        else:
            raise CorruptArchive(NO_ZIP)

    def skip_entry(self) -> None:
        """Drop the content of the picture that has just begun."""
        if self._zip is not None:
            self._zip.skip_entry()
        elif self._form is not None:
            self._form.skip_entry()

    def _open(self, start: bytes) -> None:
        kind, boundary = kind_of(self._content_type, start)
        if kind == MULTIPART and boundary:
            self._form = _FormUpload(boundary, self._limit_bytes)
            return
        if start[:4] != LOCAL and start[:4] not in DIRECTORY:
            raise CorruptArchive(NO_ZIP)
        self._zip = ZipStream(self._limit_bytes)


class _FormUpload:
    """Reads the body of a batch that is a multipart form."""

    def __init__(self, boundary: bytes, limit_bytes: int) -> None:
        self._stream = MultipartStream(boundary)
        self._limit_bytes = limit_bytes
        self._part = PartBegun("", None, "")
        self._value = bytearray()
        self._zip: ZipStream | None = None
        self._size_bytes = self._pictures = self._fields = self._fields_bytes = 0
        self._is_skipping = False

    def feed(self, received: bytes) -> Iterator[UploadEvent]:
        for event in self._stream.feed(received):
            if isinstance(event, PartBegun):
                yield from self._begin(event)
            elif self._part.name == ZIP_FIELD:
                yield from self._read_zip(event)
            elif self._part.name in IMAGE_FIELDS:
                yield from self._read_picture(event)
            else:
                yield from self._read_field(event)

    def close(self) -> None:
        self._stream.close()

    def skip_entry(self) -> None:
        if self._zip is not None:
            self._zip.skip_entry()
        self._is_skipping = True

    def _begin(self, part: PartBegun) -> Iterator[UploadEvent]:
        self._part, self._size_bytes, self._is_skipping = part, 0, False
        self._value.clear()
        if part.name == ZIP_FIELD:
            self._zip = ZipStream(self._limit_bytes)
        elif part.name in IMAGE_FIELDS:
            self._pictures += 1
            yield EntryBegun(part.file_name or f"{IMAGE_FIELDS[0]}-{self._pictures}")

    def _read_zip(self, event: PartEvent) -> Iterator[UploadEvent]:
        assert self._zip is not None  # noqa: S101 - set when the part began
        if isinstance(event, PartContent):
            yield from self._zip.feed(event.content)
            return
        yield from self._zip.close()
        self._zip = None

    def _read_picture(self, event: PartEvent) -> Iterator[UploadEvent]:
        is_too_large = self._size_bytes > self._limit_bytes
        if not isinstance(event, PartContent):
            yield EntryEnded(UploadTooLarge(self._limit_bytes) if is_too_large else None)
            return
        self._size_bytes += len(event.content)
        if self._size_bytes <= self._limit_bytes and not self._is_skipping:
            yield EntryContent(event.content)

    def _read_field(self, event: PartEvent) -> Iterator[UploadEvent]:
        if isinstance(event, PartContent):
            self._value += event.content
            if self._part.name == BACKDROP_FIELD:
                if len(self._value) > self._limit_bytes:
                    raise UploadTooLarge(self._limit_bytes)
                return
            self._fields_bytes += len(event.content)
            if self._fields_bytes > MAX_FIELDS_BYTES:
                raise MalformedRequest(f"The fields of the form are longer than {MAX_FIELDS_BYTES} bytes.")
            return
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise MalformedRequest(f"There are more than {MAX_FIELDS} fields.")
        yield Field(self._part.name, bytes(self._value))

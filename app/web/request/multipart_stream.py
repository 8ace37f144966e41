"""Multipart stream: reads a multipart form part by part while it arrives, and holds no part of it.

Unlike ``forms.py``, which returns whole parts of a bounded body, this yields the content of a part in slices.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import MalformedRequest
from app.web.request.texts import read_text

_DISPOSITION, _CONTENT_TYPE = b"content-disposition", b"content-type"


@dataclass(frozen=True, slots=True)
class PartBegun:
    """A part begins; ``file_name`` is ``None`` if it has none."""

    name: str
    file_name: str | None
    media_type: str


@dataclass(frozen=True, slots=True)
class PartContent:
    """A slice of the current part."""

    content: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """The current part has ended."""


PartEvent = PartBegun | PartContent | PartEnded


class MultipartStream:
    """Reads one multipart body.

    Args:
        boundary: The boundary that the Content-Type names.
    """

    def __init__(self, boundary: bytes) -> None:
        self._events: deque[PartEvent] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._is_at_end = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_field,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_content,
                    "on_part_end": lambda: self._events.append(PartEnded()),
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise MalformedRequest("The boundary of the multipart body is too long.") from error

    def feed(self, received: bytes) -> Iterator[PartEvent]:
        """Yield the events of more bytes; all of them must be taken before the next call.

        Raises:
            MalformedRequest: The form cannot be read.
        """
        try:
            self._parser.write(received)
        except FormParserError as error:
            raise MalformedRequest("The multipart body cannot be read.") from error
        while self._events:
            yield self._events.popleft()

    def close(self) -> None:
        """Check, after the last bytes, that the form is complete.

        Raises:
            MalformedRequest: The form is truncated.
        """
        if not self._is_at_end:
            raise MalformedRequest("The multipart body ends before its last boundary.")

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._headers.get(_DISPOSITION, b"").decode("latin-1"))
        media_type = self._headers.get(_CONTENT_TYPE, b"").partition(b";")[0].strip().lower()
        file_name = parameters.get(b"filename")
        self._events.append(
            PartBegun(
                read_text(parameters.get(b"name", b""), "The name of a part"),
                None if file_name is None else file_name.decode("utf-8", "replace"),
                media_type.decode("latin-1"),
            )
        )

    def _on_content(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartContent(data[start:end]))

    def _on_end(self) -> None:
        self._is_at_end = True

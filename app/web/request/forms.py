"""Forms: parses multipart, urlencoded and JSON bodies into named parts.

This module does not use the disk, and does not interpret the names.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from app.errors import MalformedRequest
from app.imaging.formats.sniff import begins_picture
from app.web.request.json_body import BYTE_ORDER_MARK, read_json
from app.web.request.texts import LONG_BYTES, LongText, read_text
from app.web.request.urlencoded import MAX_FIELDS, read_fields, read_urlencoded

MULTIPART, JSON, URLENCODED = (
    b"multipart/form-data",
    b"application/json",
    b"application/x-www-form-urlencoded",
)
FORMS = frozenset({MULTIPART, JSON, URLENCODED})
MAX_TYPE_CHARACTERS = 1024
NO_BOUNDARY = (
    "The body is a multipart form, and its Content-Type names no boundary. Leave that header to the library "
    "that makes the form: Content-Type: multipart/form-data; boundary=…"
)
_SNIFFED_BYTES = 1024
_JSON_SUFFIX = re.compile(rb"application/[^/;]+\+json")
_FIRST_NAME = re.compile(rb"[\w.~*%+\[\]-]{1,128}=")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form, or one member of a JSON body.

    Attributes:
        name: Its name.
        value: A JSON value, a text, or the bytes of a multipart part; a ``LongText`` if it may be a picture
            in base64.
        is_file: Whether a multipart part has a file name.
        media_type: The Content-Type of a multipart part, in lower case and without parameters.
        base64: The value of a urlencoded field, to be read as base64 if it is a picture.
    """

    name: str
    value: object
    is_file: bool = False
    media_type: str = ""
    base64: LongText | None = None

    @property
    def is_blank(self) -> bool:
        """Whether the value is empty: JSON's null, no bytes, or a short text of white space."""
        value = self.value
        if isinstance(value, str | bytes):
            return len(value) <= LONG_BYTES and not value.strip()
        return value is None


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a body that are not empty.

    Attributes:
        parts: The parts, in the order of the body.
        is_typed: Whether their values have types, as in JSON.
        blank: Names of parts that were sent empty, and so count as absent.
    """

    parts: list[Part]
    is_typed: bool = False
    blank: frozenset[str] = frozenset()


def read_form(content_type: str, body: bytes) -> Form:
    """Parse a multipart, urlencoded or JSON body.

    Raises:
        MalformedRequest: The body is malformed, or of another kind.
    """
    kind, boundary = kind_of(content_type, body)
    if kind == MULTIPART:
        parts, blank = read_multipart(boundary, body)
        return Form(parts, blank=blank)
    if kind == JSON:
        return _without_blanks((Part(name, value) for name, value in read_json(body).items()), is_typed=True)
    if kind == URLENCODED or not body:
        fields = read_fields(body)
        return _without_blanks((Part(f.name, f.value, base64=f.base64) for f in fields), is_typed=False)
    raise MalformedRequest("Send a multipart form, a urlencoded form or JSON.")


def _without_blanks(parts: Iterable[Part], *, is_typed: bool) -> Form:
    all_parts = list(parts)
    blank = frozenset(part.name for part in all_parts if part.is_blank)
    return Form([part for part in all_parts if not part.is_blank], is_typed, blank)


def kind_of(content_type: str, body: bytes) -> tuple[bytes, bytes | None]:
    """Return the kind of a body, one of ``FORMS`` or empty for a picture, and its multipart boundary, if any.

    The first bytes count as well as the declared type: curl declares everything it sends as a urlencoded
    form, and some clients declare JSON as plain text.

    Raises:
        MalformedRequest: The header is longer than any type, or has no boundary for a multipart body.
    """
    if len(content_type) > MAX_TYPE_CHARACTERS:
        raise MalformedRequest(f"The Content-Type is longer than {MAX_TYPE_CHARACTERS} characters.")
    declared, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    start = body[:_SNIFFED_BYTES].removeprefix(BYTE_ORDER_MARK).lstrip()
    if declared == MULTIPART and boundary:
        return MULTIPART, boundary
    if declared == MULTIPART or start.startswith(b"--"):
        raise MalformedRequest(NO_BOUNDARY)
    is_json = declared in (JSON, b"text/json") or _JSON_SUFFIX.fullmatch(declared) is not None
    if is_json or (start.startswith(b"{") and not declared.startswith(b"image/")):
        return JSON, None
    if declared == URLENCODED and _FIRST_NAME.match(start) and not begins_picture(body):
        return URLENCODED, None
    return b"", None


def read_query(query: bytes) -> list[tuple[str, str]]:
    """Parse the query of a request; empty fields count as absent.

    Raises:
        MalformedRequest: The query is malformed, or has more than ``MAX_FIELDS`` fields.
    """
    fields = read_urlencoded(query, "The query")
    # A request line is too short for a LongText.
    return [(name, value) for name, value in fields if isinstance(value, str) and value.strip()]


def text_of(part: Part) -> str | None:
    """Return the value of a part as text, also a number; ``None`` for null.

    Raises:
        MalformedRequest: The value is not a text, a number or a boolean, is not Unicode, or is too long.
    """
    value = part.value
    if isinstance(value, bytes):
        return read_text(value, "A text of the form")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if value is None:
        return None
    if isinstance(value, LongText):
        raise MalformedRequest("A text of the request is too long for its place.")
    raise MalformedRequest(f"The value of {part.name} is neither a text nor a number.")


def read_multipart(boundary: bytes | None, body: bytes) -> tuple[list[Part], frozenset[str]]:
    """Parse a multipart body; return its parts, whose values are bytes, and the names of empty parts.

    Raises:
        MalformedRequest: The body is malformed, or has more than ``MAX_FIELDS`` parts.
    """
    parts: list[Part] = []
    blank: list[str] = []
    ends: list[bool] = []

    def add(part: Field | File, value: bytes, file_name: bytes | None) -> None:
        if len(parts) + len(blank) >= MAX_FIELDS:
            raise MalformedRequest(f"There are more than {MAX_FIELDS} parts.")
        name = read_text(part.field_name or b"", "The name of a part")
        media_type = (part.content_type or "").partition(";")[0].strip().lower()
        parsed = Part(name, value, is_file=file_name is not None, media_type=media_type)
        # Browsers send a file input without a file with an empty file name.
        if parsed.is_blank and not file_name:
            blank.append(name)
        else:
            parts.append(parsed)

    def on_field(part: Field) -> None:
        add(part, part.value or b"", None)

    def on_file(part: File) -> None:
        assert isinstance(part.file_object, io.BytesIO)  # noqa: S101 - never a file on disk
        add(part, part.file_object.getvalue(), part.file_name or b"")

    limits = {
        "MAX_FIELD_SIZE": len(body) + 1,
        "MAX_MEMORY_FILE_SIZE": len(body) + 1,  # never a file on disk
    }
    try:
        parser = FormParser(
            "multipart/form-data", on_field, on_file, lambda: ends.append(True), boundary, config=limits
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(_why_unreadable(boundary, body)) from error
    if not ends:
        raise MalformedRequest("The multipart body ends before its last boundary.")
    return parts, frozenset(blank)


def _why_unreadable(boundary: bytes | None, body: bytes) -> str:
    if boundary is not None and b"--" + boundary not in body:
        return "The multipart body does not have the boundary that its Content-Type names."
    return "The multipart body cannot be read."

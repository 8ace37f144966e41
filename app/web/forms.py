"""Forms: a body of any of the three kinds that clients send becomes named fields and files.

Nothing here touches the disk, and nothing knows what the names mean.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from app.errors import MalformedRequest
from app.web.json_body import read_json
from app.web.texts import LongText, read_text
from app.web.urlencoded import MAX_FIELDS, read_urlencoded

MULTIPART, JSON, URLENCODED = (
    b"multipart/form-data",
    b"application/json",
    b"application/x-www-form-urlencoded",
)
FORMS = frozenset({MULTIPART, JSON, URLENCODED})
MOST_TYPE_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One named part: a text, a number or a truth value, or the bytes of a part of a multipart body.

    A text that may be a picture in base64 is a ``LongText``.
    """

    name: str
    value: object
    is_file: bool = False


def read_form(content_type: str, body: bytes) -> tuple[list[Part], bool]:
    """Read a multipart, urlencoded or JSON body; tell whether its values have types (JSON's have).

    Raises:
        MalformedRequest: It cannot be read, or is of another kind.
    """
    kind, boundary = kind_of(content_type)
    if kind == MULTIPART:
        return list(read_multipart(boundary, body)), False
    if kind == JSON:
        return [Part(name, value) for name, value in read_json(body).items()], True
    if kind == URLENCODED or not body:
        return [Part(name, value) for name, value in read_urlencoded(body)], False
    raise MalformedRequest("Send a multipart form, a urlencoded form or JSON.")


def kind_of(content_type: str) -> tuple[bytes, bytes | None]:
    """Return the media type of a body in small letters, and the boundary of its parts if one is named.

    Raises:
        MalformedRequest: The header is longer than any type.
    """
    if len(content_type) > MOST_TYPE_CHARACTERS:
        raise MalformedRequest(f"The Content-Type is longer than {MOST_TYPE_CHARACTERS} characters.")
    kind, parameters = parse_options_header(content_type)
    return kind, parameters.get(b"boundary")


def read_query(query: bytes) -> list[tuple[str, str]]:
    """Read the query of a request's line.

    Raises:
        MalformedRequest: It is none, or has more than ``MAX_FIELDS`` fields.
    """
    fields = read_urlencoded(query, "The query")
    return [(name, value) for name, value in fields if isinstance(value, str)]  # a line is never that long


def text_of(part: Part) -> str | None:
    """Return the text of a part, also that of a number; ``None`` for a part that is empty.

    Raises:
        MalformedRequest: It has none, or one that is not Unicode or too long to mean anything.
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


def read_multipart(boundary: bytes | None, body: bytes) -> Iterator[Part]:
    """Yield the parts of a multipart body; the values are bytes.

    Raises:
        MalformedRequest: It cannot be read, or has more than ``MAX_FIELDS`` parts.
    """
    if not boundary:
        raise MalformedRequest("The multipart body has no boundary.")
    parts: list[Part] = []
    ends: list[bool] = []

    def take(name: bytes | None, value: bytes, *, is_file: bool) -> None:
        if len(parts) >= MAX_FIELDS:
            raise MalformedRequest(f"There are more than {MAX_FIELDS} parts.")
        parts.append(Part(read_text(name or b"", "The name of a part"), value, is_file=is_file))

    def on_field(part: Field) -> None:
        take(part.field_name, part.value or b"", is_file=False)

    def on_file(part: File) -> None:
        assert isinstance(part.file_object, io.BytesIO)  # noqa: S101 - never to disk
        take(part.field_name, part.file_object.getvalue(), is_file=True)

    limits = {
        "MAX_FIELD_SIZE": len(body) + 1,
        "MAX_MEMORY_FILE_SIZE": len(body) + 1,  # never to disk
    }
    try:
        parser = FormParser(
            "multipart/form-data", on_field, on_file, lambda: ends.append(True), boundary, config=limits
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest("The multipart body cannot be read.") from error
    if not ends:
        raise MalformedRequest("The multipart body ends before its last boundary.")
    yield from parts

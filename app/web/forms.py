"""Forms: a body of any of the three kinds that clients send becomes named fields and files.

Nothing here touches the disk, and nothing knows what the names mean.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from app.errors import MalformedRequest

MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One named part: a text, a number or a truth value, or the bytes of a part of a multipart body."""

    name: str
    value: object
    is_file: bool = False


def read_form(content_type: str, body: bytes) -> tuple[list[Part], bool]:
    """Read a multipart, urlencoded or JSON body; tell whether its values have types (JSON's have).

    Raises:
        MalformedRequest: It cannot be read, or is of another kind.
    """
    kind, parameters = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return list(read_multipart(parameters.get(b"boundary"), body)), False
    if kind == b"application/json":
        return [Part(name, value) for name, value in read_json(body).items()], True
    if kind == b"application/x-www-form-urlencoded" or not body:
        return [Part(name, value) for name, value in read_urlencoded(body)], False
    raise MalformedRequest("Send a multipart form, a urlencoded form or JSON.")


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
        parts.append(Part((name or b"").decode("utf-8", "replace"), value, is_file=is_file))

    def on_field(part: Field) -> None:
        take(part.field_name, part.value or b"", is_file=False)

    def on_file(part: File) -> None:
        part.file_object.seek(0)
        take(part.field_name, part.file_object.read(), is_file=True)

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


def read_json(body: bytes) -> dict[str, object]:
    """Read a JSON object whose names are unique.

    Raises:
        MalformedRequest: The body is none.
    """
    try:
        members = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("The body is not JSON.") from error
    if not isinstance(members, dict):
        raise MalformedRequest("The JSON body is not an object.")
    return members


def read_urlencoded(body: bytes) -> list[tuple[str, str]]:
    """Read a urlencoded form.

    Raises:
        MalformedRequest: It is none, or has more than ``MAX_FIELDS`` fields.
    """
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise MalformedRequest("The urlencoded body cannot be read.") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is given twice")
    return members


def _no_number(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")

"""Urlencoded: parses a urlencoded form or query, and checks its size before decoding anything.

Many clients put base64 into a form without escapes (``curl -d "image=$(base64 photo.jpg)"``), so its plus
signs look like spaces. Spaces have no meaning in base64, so a plus sign there is read as a plus sign.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from app.errors import MalformedRequest
from app.web.request.percent import unquoted_slices
from app.web.request.texts import LONG_BYTES, LongText, plain_slices, read_text

MAX_FIELDS = 64
_BEFORE_DIGITS = re.compile(rb"[\s+]*(?:data:[^,]*,[\s+]*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UrlencodedField:
    """The name of a field, its value, and the same value read as base64."""

    name: str
    value: str | LongText
    base64: LongText


def read_urlencoded(body: bytes, what: str = "The urlencoded body") -> list[tuple[str, str | LongText]]:
    """Parse a urlencoded form; values of ``LONG_BYTES`` or more stay encoded.

    Raises:
        MalformedRequest: It is malformed, or has more than ``MAX_FIELDS`` fields; the message names it by
            ``what``.
    """
    return [(field.name, field.value) for field in read_fields(body, what)]


def read_fields(body: bytes, what: str = "The urlencoded body") -> list[UrlencodedField]:
    """Parse a urlencoded form whose values may be base64.

    Raises:
        MalformedRequest: It is malformed, or has more than ``MAX_FIELDS`` fields; the message names it by
            ``what``.
    """
    fields: list[UrlencodedField] = []
    start = 0
    for _ in range(MAX_FIELDS):
        stop = body.find(b"&", start)
        stop = len(body) if stop < 0 else stop
        if stop > start:
            fields.append(_parse_field(body, start, stop, what))
        if stop == len(body):
            return fields
        start = stop + 1
    raise MalformedRequest(f"{what} has more than {MAX_FIELDS} fields.")


def percent_slices(raw: memoryview) -> Iterator[bytes]:
    """Decode a urlencoded value, slice by slice."""
    return unquoted_slices(chunk.replace(b"+", b" ") for chunk in plain_slices(raw))


def base64_slices(raw: memoryview) -> Iterator[bytes]:
    """Decode a urlencoded value of base64, slice by slice.

    An unescaped plus sign counts as a plus sign, except before the first digit, where it is a space.
    """
    is_before_digits = True
    for chunk in unquoted_slices(plain_slices(raw)):
        if is_before_digits:
            yield _BEFORE_DIGITS.sub(lambda found: found[0].replace(b"+", b" "), chunk, count=1)
            is_before_digits = not chunk.strip(b" \t\r\n+")
        else:
            yield chunk


def _parse_field(body: bytes, start: int, stop: int, what: str) -> UrlencodedField:
    equals = body.find(b"=", start, stop)
    equals = stop if equals < 0 else equals
    if equals - start > LONG_BYTES:
        raise MalformedRequest(f"{what} has a name that is too long.")
    name = _decode_short(body[start:equals], what)
    raw = memoryview(body)[equals + 1 : stop]
    is_long = stop - equals > LONG_BYTES
    value = LongText(raw, percent_slices) if is_long else _decode_short(bytes(raw), what)
    return UrlencodedField(name, value, LongText(raw, base64_slices))


def _decode_short(raw: bytes, what: str) -> str:
    if not raw.isascii():
        raise MalformedRequest(f"{what} is not ASCII.")
    return read_text(unquote_to_bytes(raw.replace(b"+", b" ")), what)

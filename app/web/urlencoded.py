"""Urlencoded: names and values of a form or a query, bounded before anything of them is decoded."""

from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from app.errors import MalformedRequest
from app.web.percent import unquoted_slices
from app.web.texts import LONG_BYTES, LongText, plain_slices, read_text

MAX_FIELDS = 64


def read_urlencoded(body: bytes, what: str = "The urlencoded body") -> list[tuple[str, str | LongText]]:
    """Read a urlencoded form; values of ``LONG_BYTES`` and more stay as they are.

    Raises:
        MalformedRequest: It is none, or has more than ``MAX_FIELDS`` fields; ``what`` names it.
    """
    fields: list[tuple[str, str | LongText]] = []
    start = 0
    for _ in range(MAX_FIELDS):
        stop = body.find(b"&", start)
        stop = len(body) if stop < 0 else stop
        if stop > start:
            fields.append(_field(body, start, stop, what))
        if stop == len(body):
            return fields
        start = stop + 1
    raise MalformedRequest(f"{what} has more than {MAX_FIELDS} fields.")


def percent_slices(raw: memoryview) -> Iterator[bytes]:
    """Yield a urlencoded value without its escapes, slice by slice."""
    return unquoted_slices(piece.replace(b"+", b" ") for piece in plain_slices(raw))


def _field(body: bytes, start: int, stop: int, what: str) -> tuple[str, str | LongText]:
    equals = body.find(b"=", start, stop)
    equals = stop if equals < 0 else equals
    if equals - start > LONG_BYTES:
        raise MalformedRequest(f"{what} has a name that is too long.")
    name = _short(body[start:equals], what)
    if stop - equals > LONG_BYTES:
        return name, LongText(memoryview(body)[equals + 1 : stop], percent_slices)
    return name, _short(body[equals + 1 : stop], what)


def _short(raw: bytes, what: str) -> str:
    if not raw.isascii():
        raise MalformedRequest(f"{what} is not ASCII.")
    return read_text(unquote_to_bytes(raw.replace(b"+", b" ")), what)

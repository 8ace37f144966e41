"""Urlencoded: names and values of a form or a query, bounded before anything of them is decoded."""

from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedRequest
from app.web.texts import LONG_BYTES, SLICE_BYTES, LongText, read_text

MAX_FIELDS = 64
_NO_DIGIT = 255


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
    start = 0
    while start < len(raw):
        piece = bytes(raw[start : start + SLICE_BYTES])
        cut = piece.rfind(b"%", len(piece) - 2)
        if cut > 0 and start + len(piece) < len(raw):
            piece = piece[:cut]
        start += len(piece)
        yield _unquoted(np.frombuffer(piece.replace(b"+", b" "), np.uint8))


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


def _unquoted(text: NDArray[np.uint8]) -> bytes:
    """Undo the escapes of a slice; what begins like one and is none stays."""
    value = _hex_values()[text]
    is_digit = value != _NO_DIGIT
    starts = np.flatnonzero((text[:-2] == ord("%")) & is_digit[1:-1] & is_digit[2:])
    if not starts.size:
        return text.tobytes()
    decoded = text.copy()
    decoded[starts] = value[starts + 1] * np.uint8(16) + value[starts + 2]
    stays = np.ones(text.size, np.bool_)
    stays[starts + 1] = stays[starts + 2] = False
    return decoded[stays].tobytes()


def _hex_values() -> NDArray[np.uint8]:
    values = np.full(256, _NO_DIGIT, np.uint8)
    for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
        values[list(digits)] = np.arange(16)
    return values

"""Texts: decodes text input, which must be well-formed Unicode of a limited length.

A picture in base64 is a text of megabytes. It stays in the body, as a ``LongText``, until it is decoded slice
by slice: a single call for the whole text would block the interpreter, and with it the event loop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.errors import MalformedRequest

LONG_BYTES = 16 * 1024
"""A text of this length or more is not decoded together with the rest of its body."""
SLICE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LongText:
    """A long text in a body, to be decoded slice by slice if it is used.

    Attributes:
        raw: The text as sent, with its escapes.
        slices: Decodes the escapes; yields slices of about ``SLICE_BYTES`` at most.
    """

    raw: memoryview
    slices: Callable[[memoryview], Iterator[bytes]]


def read_text(raw: bytes, what: str) -> str:
    """Decode UTF-8 text.

    Raises:
        MalformedRequest: The bytes are not UTF-8; the message names them by ``what``.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"{what} is not UTF-8.") from error


def whole_number(text: str, *, maximum: int) -> int | None:
    """Parse a decimal number from 0 to ``maximum``; return ``None`` for any other text.

    Python's ``int`` raises on thousands of digits, and accepts digits of other scripts.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= maximum else None


def plain_slices(raw: memoryview) -> Iterator[bytes]:
    """Yield bytes unchanged, slice by slice."""
    for start in range(0, len(raw), SLICE_BYTES):
        yield bytes(raw[start : start + SLICE_BYTES])

"""Texts: what comes in as text is well-formed Unicode and of a bounded length, or is refused before its use.

A picture in base64 is a text of megabytes. It stays where it is in the body, a ``LongText``, until it is
decoded slice by slice: one call over all of it would hold the interpreter, and with it the event loop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.errors import MalformedRequest

LONG_BYTES = 16 * 1024
"""From this length on a text is not decoded with the rest of its body."""
SLICE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LongText:
    """A text of a body that is read slice by slice, or not at all.

    Attributes:
        raw: The text as it was sent, with its escapes.
        slices: Undoes the escapes; no slice is much longer than ``SLICE_BYTES``.
    """

    raw: memoryview
    slices: Callable[[memoryview], Iterator[bytes]]


def read_text(raw: bytes, what: str) -> str:
    """Decode the bytes of a text.

    Raises:
        MalformedRequest: They are not UTF-8; ``what`` names them.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"{what} is not UTF-8.") from error


def whole_number(text: str, *, maximum: int) -> int | None:
    """Return the whole number from 0 to ``most`` that a text names in decimal digits; ``None`` if it is none.

    Python refuses to read thousands of digits, and reads those of other scripts.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= maximum else None


def plain_slices(raw: memoryview) -> Iterator[bytes]:
    """Yield bytes as they are, slice by slice."""
    for start in range(0, len(raw), SLICE_BYTES):
        yield bytes(raw[start : start + SLICE_BYTES])

"""Texts: what comes in as text is well-formed Unicode and of a bounded length, or is refused before its use.

A picture in base64 is a text of megabytes. It stays where it is in the body, a ``LongText``, until it is
decoded slice by slice: one call over all of it would hold the interpreter, and with it the event loop.
"""

import base64
import binascii
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from app.errors import MalformedRequest

LONG_BYTES = 16 * 1024
"""From this length on a text is not decoded with the rest of its body."""
SLICE_BYTES = 64 * 1024
_WHITE_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"


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


def whole_number(text: str, *, most: int) -> int | None:
    """Return the whole number from 0 to ``most`` that a text names in decimal digits; ``None`` if it is none.

    Python refuses to read thousands of digits, and reads those of other scripts.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= most else None


def plain_slices(raw: memoryview) -> Iterator[bytes]:
    """Yield bytes as they are, slice by slice."""
    for start in range(0, len(raw), SLICE_BYTES):
        yield bytes(raw[start : start + SLICE_BYTES])


def decode_base64(text: str | bytes | LongText) -> bytes:
    """Decode base64 with or without white space, or a data URL of it.

    Raises:
        MalformedRequest: It is neither.
    """
    decoded = io.BytesIO()  # grows in place and gives its bytes away uncopied
    digits, padding = b"", b""
    try:
        for piece in _after_head(_slices_of(text)):
            digits_here, padding_here = _split_padding(piece.translate(None, _WHITE_SPACE))
            if padding and digits_here:
                raise ValueError("there is something behind the padding")
            digits, padding = digits + digits_here, (padding + padding_here)[:4]
            whole = max(0, len(digits) // 4 - 1) * 4
            decoded.write(binascii.a2b_base64(digits[:whole], strict_mode=True))
            digits = digits[whole:]
        decoded.write(base64.b64decode(digits + padding, validate=True))
    except ValueError as error:  # binascii.Error and what is not ASCII among them
        raise MalformedRequest("The text is not base64.") from error
    return decoded.getvalue()


def _split_padding(piece: bytes) -> tuple[bytes, bytes]:
    """Split base64 without white space into its digits and the padding behind them."""
    digits, mark, after = piece.partition(b"=")
    if after.strip(b"="):
        raise ValueError("there is something behind the padding")
    return digits, mark + after


def _slices_of(text: str | bytes | LongText) -> Iterator[bytes]:
    if isinstance(text, str):
        return plain_slices(memoryview(re.sub(r"\s", " ", text).encode()))
    if isinstance(text, bytes):
        return plain_slices(memoryview(text))
    return text.slices(text.raw)


def _after_head(slices: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what comes behind the head of a data URL, if there is one; it ends within the first slice."""
    is_first = True
    for piece in slices:
        if is_first and piece.startswith(b"data:"):
            head, comma, after = piece.partition(b",")
            if not comma or not head.endswith(b";base64"):
                raise MalformedRequest("The data URL is not base64.")
            yield after
        else:
            yield piece
        is_first = False

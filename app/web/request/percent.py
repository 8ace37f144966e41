"""Percent: escapes like ``%2B`` are undone, slice by slice, at the speed of numpy.

The library takes a text apart at every sign, which for megabytes of escapes holds the interpreter.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_NO_DIGIT = 255


def unquoted_slices(slices: Iterable[bytes]) -> Iterator[bytes]:
    """Yield slices without their escapes, also those that two slices share; what is no escape stays."""
    held = b""
    for piece in slices:
        text = held + piece
        cut = text.rfind(b"%", max(0, len(text) - 2))
        held = text[cut:] if cut >= 0 else b""
        yield unquote(text[: len(text) - len(held)])
    yield unquote(held)


def unquote(text: bytes) -> bytes:
    """Undo the escapes of a text; what begins like one and is none stays."""
    return _unquoted(np.frombuffer(text, np.uint8)) if b"%" in text else text


def _unquoted(text: NDArray[np.uint8]) -> bytes:
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

"""Percent: decodes escapes like ``%2B`` slice by slice, at the speed of numpy.

The standard library splits a text at each percent sign, which blocks the interpreter if there are megabytes
of escapes.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_NO_DIGIT = 255


def unquoted_slices(slices: Iterable[bytes]) -> Iterator[bytes]:
    """Decode escapes in slices, also those that span two slices; an invalid escape stays as it is."""
    held = b""
    for chunk in slices:
        text = held + chunk
        cut = text.rfind(b"%", max(0, len(text) - 2))
        held = text[cut:] if cut >= 0 else b""
        yield unquote(text[: len(text) - len(held)])
    yield unquote(held)


def unquote(text: bytes) -> bytes:
    """Decode the escapes of a text; an invalid escape stays as it is."""
    return _unquoted(np.frombuffer(text, np.uint8)) if b"%" in text else text


def _unquoted(text: NDArray[np.uint8]) -> bytes:
    value = _hex_values()[text]
    is_digit = value != _NO_DIGIT
    starts = np.flatnonzero((text[:-2] == ord("%")) & is_digit[1:-1] & is_digit[2:])
    if not starts.size:
        return text.tobytes()
    decoded = text.copy()
    decoded[starts] = value[starts + 1] * np.uint8(16) + value[starts + 2]
    is_kept = np.ones(text.size, np.bool_)
    is_kept[starts + 1] = is_kept[starts + 2] = False
    return decoded[is_kept].tobytes()


def _hex_values() -> NDArray[np.uint8]:
    values = np.full(256, _NO_DIGIT, np.uint8)
    for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
        values[list(digits)] = np.arange(16)
    return values

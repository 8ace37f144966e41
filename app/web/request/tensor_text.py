"""Tensor text: parses the numbers of a JSON array directly into an array, slice by slice.

As a Python list they would take four times the memory of the text, built in one call that blocks the event
loop. The array may be flat or nested like the shape; each bracket is checked against the shape.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedRequest

SLICE_BYTES = 32 * 1024
Scalar = TypeVar("Scalar", np.bool_, np.uint16)
_OPEN, _CLOSE, _COMMA, _NUMBER = b"[", b"]", b",", b"0"
_ALLOWED_PAIRS = frozenset(
    {
        *((_OPEN, each) for each in (_OPEN, _NUMBER)),
        *((_COMMA, each) for each in (_OPEN, _NUMBER)),
        *((_NUMBER, each) for each in (_COMMA, _CLOSE)),
        *((_CLOSE, each) for each in (_COMMA, _CLOSE)),
    }
)
_SPACE = np.isin(np.arange(256), list(b" \t\r\n"))


def _transition_table() -> NDArray[np.bool_]:
    allowed = np.zeros((256, 256), np.bool_)
    for first, second in _ALLOWED_PAIRS:
        allowed[first[0], second[0]] = True
    return allowed


_ALLOWED = _transition_table()


class InvalidTensor(ValueError):
    """The text is not an array of numbers of the declared shape."""


def read_numbers(raw: memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Parse whole numbers from 0 to 255.

    Args:
        raw: A JSON array with only digits, commas, brackets and white space.
        shape: The declared shape, outermost axis first; the array is flat or nested like it.

    Returns:
        The numbers, uint8, of that shape.

    Raises:
        MalformedRequest: The text has other numbers, another count of them, or another nesting.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if len(raw) < 2 * count + 1:
        raise MalformedRequest("The data are not as many as the shape says.")
    depth = _opening_brackets(bytes(raw[:SLICE_BYTES]))
    if depth not in (1, len(shape)):
        raise MalformedRequest("The data are nested in another way than the shape says.")
    reader = _Reader(np.empty(count, np.uint8), shape if depth > 1 else (count,))
    start = 0
    try:
        while start < len(raw):
            stop = _slice_end(
                bytes(raw[start : start + SLICE_BYTES]), is_last=start + SLICE_BYTES >= len(raw)
            )
            reader.read(np.frombuffer(raw[start : start + stop], np.uint8))
            start += stop
        reader.end()
    except InvalidTensor as error:
        raise MalformedRequest(str(error)) from error
    return reader.numbers.reshape(shape)


def _opening_brackets(chunk: bytes) -> int:
    """Return the number of brackets before the first number."""
    text = chunk.translate(None, b" \t\r\n")
    return len(text) - len(text.lstrip(_OPEN))


def _slice_end(chunk: bytes, *, is_last: bool) -> int:
    """Return the last position where a slice can end without splitting a number."""
    if is_last:
        return len(chunk)
    stop = len(chunk.rstrip(b"0123456789"))
    if stop < len(chunk) - 3:
        raise MalformedRequest('"data" are not whole numbers from 0 to 255.')
    return stop


@dataclass(slots=True)
class _Reader:
    """Parses slices that end between two numbers, and keeps the state from one to the next."""

    numbers: NDArray[np.uint8]
    nesting: tuple[int, ...]
    filled: int = 0
    depth: int = 0
    last: int = 0

    def read(self, text: NDArray[np.uint8]) -> None:
        """Parse one slice.

        Raises:
            InvalidTensor: The slice is not a valid continuation of the array.
        """
        is_digit = (text - np.uint8(ord("0"))) < 10  # characters below "0" wrap around to large values
        values, ends = _values(text, is_digit)
        if self.filled + values.size > self.numbers.size:
            raise InvalidTensor("The data are not as many as the shape says.")
        tokens, numbers_before = _tokens(text, is_digit, ends)
        if tokens.size:
            self._check_order(tokens)
            self._check_nesting(tokens, numbers_before + self.filled)
        self.numbers[self.filled : self.filled + values.size] = values
        self.filled += values.size

    def end(self) -> None:
        """Check that the array is complete.

        Raises:
            InvalidTensor: It is not.
        """
        if self.filled != self.numbers.size:
            raise InvalidTensor("The data are not as many as the shape says.")
        if self.depth != 0:
            raise InvalidTensor('"data" is not a tensor.')

    def _check_order(self, tokens: NDArray[np.uint8]) -> None:
        """Check that each token may follow the one before it."""
        if self.last and not _ALLOWED[self.last, tokens[0]]:
            raise InvalidTensor('"data" is not a tensor.')
        if not _ALLOWED[tokens[:-1], tokens[1:]].all():
            raise InvalidTensor('"data" is not a tensor.')
        self.last = int(tokens[-1])

    def _check_nesting(self, tokens: NDArray[np.uint8], numbers_before: NDArray[np.int64]) -> None:
        """Check the brackets against the shape.

        Args:
            tokens: The tokens of a slice.
            numbers_before: For each token, the count of numbers up to it, from the start of the array.
        """
        steps = (tokens == _OPEN[0]).astype(np.int64) - (tokens == _CLOSE[0])
        depth = self.depth + np.cumsum(steps)
        is_number, is_close, is_comma = (tokens == each[0] for each in (_NUMBER, _CLOSE, _COMMA))
        innermost = len(self.nesting)
        fits = depth.min() >= 0 and (depth[:-1] > 0).all() and (depth[is_number] == innermost).all()
        for level in range(innermost + 1):
            inner = int(np.prod(self.nesting[level:], dtype=np.int64))
            outer = int(np.prod(self.nesting[max(0, level - 1) :], dtype=np.int64))
            closes = numbers_before[is_close & (depth == level)]
            commas = numbers_before[is_comma & (depth == level)]
            fits = fits and not ((closes % inner).any() or (commas % inner).any())
            fits = fits and bool((commas % outer).all())  # no comma after the last element of an array
        if not fits:
            raise InvalidTensor("The data are nested in another way than the shape says.")
        self.depth = int(depth[-1])


def _values(
    text: NDArray[np.uint8], is_digit: NDArray[np.bool_]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return the numbers of a slice, and the position of the last digit of each."""
    digit = np.where(is_digit, text - np.uint8(ord("0")), 0).astype(np.uint16)
    second, third, fourth = (_shifted(is_digit, by) for by in (1, 2, 3))
    if (is_digit & second & third & fourth).any():
        raise InvalidTensor('"data" are not whole numbers from 0 to 255.')
    is_end = is_digit.copy()
    is_end[:-1] &= ~is_digit[1:]
    starts_with_zero = is_digit & ~second & (digit == 0) & ~is_end
    tens, hundreds = _shifted(digit, 1), np.where(second, _shifted(digit, 2), 0)
    ends = np.flatnonzero(is_end)
    values = (digit + 10 * tens + 100 * hundreds)[ends].astype(np.uint16)
    if starts_with_zero.any() or (values > 255).any():
        raise InvalidTensor('"data" are not whole numbers from 0 to 255.')
    return values, ends


def _shifted(values: NDArray[Scalar], by: int) -> NDArray[Scalar]:
    """Shift values right by ``by`` positions, and fill with zeros."""
    shifted = np.zeros_like(values)
    shifted[by:] = values[:-by]
    return shifted


def _tokens(
    text: NDArray[np.uint8], is_digit: NDArray[np.bool_], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the tokens of a slice, one for each number, and the count of numbers up to each token."""
    is_token = ~is_digit & ~_SPACE[text]
    is_token[ends] = True
    positions = np.flatnonzero(is_token)
    tokens = np.where(is_digit[positions], np.uint8(_NUMBER[0]), text[positions])
    return tokens, np.cumsum(tokens == _NUMBER[0])

"""Tensor text: the numbers of a JSON array become bytes, slice by slice, and nothing in between.

As a list of Python they would be four times the text, and made in one call that lets nobody else in. The
array may be flat or nested as the shape says; its brackets are held against the shape as they come.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedRequest

SLICE_BYTES = 32 * 1024
Scalar = TypeVar("Scalar", np.bool_, np.uint16)
_OPEN, _CLOSE, _COMMA, _NUMBER = b"[", b"]", b",", b"0"
_FOLLOWS = frozenset(
    {
        *((_OPEN, each) for each in (_OPEN, _NUMBER)),
        *((_COMMA, each) for each in (_OPEN, _NUMBER)),
        *((_NUMBER, each) for each in (_COMMA, _CLOSE)),
        *((_CLOSE, each) for each in (_COMMA, _CLOSE)),
    }
)
_SPACE = np.isin(np.arange(256), list(b" \t\r\n"))


def _pairs() -> NDArray[np.bool_]:
    allowed = np.zeros((256, 256), np.bool_)
    for first, second in _FOLLOWS:
        allowed[first[0], second[0]] = True
    return allowed


_ALLOWED = _pairs()


class NoTensor(ValueError):
    """The text is not the numbers that the shape asks for."""


def read_numbers(raw: memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read whole numbers from 0 to 255.

    Args:
        raw: A JSON array of nothing but digits, commas, brackets and white space.
        shape: How many there are, outermost axis first; the array is flat or nested like it.

    Returns:
        The numbers, uint8, of that shape.

    Raises:
        MalformedRequest: They are others, are more or fewer, or are nested otherwise.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if len(raw) < 2 * count + 1:
        raise MalformedRequest("The data are not as many as the shape says.")
    depth = _opening(bytes(raw[:SLICE_BYTES]))
    if depth not in (1, len(shape)):
        raise MalformedRequest("The data are nested in another way than the shape says.")
    reader = _Reader(np.empty(count, np.uint8), shape if depth > 1 else (count,))
    start = 0
    try:
        while start < len(raw):
            stop = _cut(bytes(raw[start : start + SLICE_BYTES]), is_last=start + SLICE_BYTES >= len(raw))
            reader.read(np.frombuffer(raw[start : start + stop], np.uint8))
            start += stop
        reader.end()
    except NoTensor as error:
        raise MalformedRequest(str(error)) from error
    return reader.numbers.reshape(shape)


def _opening(piece: bytes) -> int:
    """Return how many brackets open before the first number."""
    digits = piece.translate(None, b" \t\r\n")
    return len(digits) - len(digits.lstrip(_OPEN))


def _cut(piece: bytes, *, is_last: bool) -> int:
    """Return where a slice may end without cutting a number."""
    if is_last:
        return len(piece)
    stop = len(piece.rstrip(b"0123456789"))
    if stop < len(piece) - 3:
        raise MalformedRequest('"data" are not whole numbers from 0 to 255.')
    return stop


@dataclass(slots=True)
class _Reader:
    """Reads slices that end between two numbers, and keeps how far they came."""

    numbers: NDArray[np.uint8]
    nesting: tuple[int, ...]
    filled: int = 0
    depth: int = 0
    last: int = 0

    def read(self, text: NDArray[np.uint8]) -> None:
        """Read one slice.

        Raises:
            NoTensor: It is not what has to come here.
        """
        is_digit = (text - np.uint8(ord("0"))) < 10  # other characters are lower, and wrap round
        values, ends = _values(text, is_digit)
        if self.filled + values.size > self.numbers.size:
            raise NoTensor("The data are not as many as the shape says.")
        marks, before = _marks(text, is_digit, ends)
        if marks.size:
            self._check_order(marks)
            self._check_nesting(marks, before + self.filled)
        self.numbers[self.filled : self.filled + values.size] = values
        self.filled += values.size

    def end(self) -> None:
        """Look whether all has come.

        Raises:
            NoTensor: It has not.
        """
        if self.filled != self.numbers.size:
            raise NoTensor("The data are not as many as the shape says.")
        if self.depth != 0:
            raise NoTensor('"data" is not a tensor.')

    def _check_order(self, marks: NDArray[np.uint8]) -> None:
        """Look whether each token may follow the one before."""
        if self.last and not _ALLOWED[self.last, marks[0]]:
            raise NoTensor('"data" is not a tensor.')
        if not _ALLOWED[marks[:-1], marks[1:]].all():
            raise NoTensor('"data" is not a tensor.')
        self.last = int(marks[-1])

    def _check_nesting(self, marks: NDArray[np.uint8], before: NDArray[np.int64]) -> None:
        """Look whether brackets stand where the shape has them; ``before`` counts the numbers up to each."""
        steps = (marks == _OPEN[0]).astype(np.int64) - (marks == _CLOSE[0])
        depth = self.depth + np.cumsum(steps)
        is_number, is_close, is_comma = (marks == each[0] for each in (_NUMBER, _CLOSE, _COMMA))
        innermost = len(self.nesting)
        fits = depth.min() >= 0 and (depth[:-1] > 0).all() and (depth[is_number] == innermost).all()
        for level in range(innermost + 1):
            inner = int(np.prod(self.nesting[level:], dtype=np.int64))
            outer = int(np.prod(self.nesting[max(0, level - 1) :], dtype=np.int64))
            closes, commas = before[is_close & (depth == level)], before[is_comma & (depth == level)]
            fits = fits and not ((closes % inner).any() or (commas % inner).any())
            fits = fits and bool((commas % outer).all())  # an array does not go on after its last element
        if not fits:
            raise NoTensor("The data are nested in another way than the shape says.")
        self.depth = int(depth[-1])


def _values(
    text: NDArray[np.uint8], is_digit: NDArray[np.bool_]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return the numbers of a slice, and where the last digit of each stands."""
    digit = np.where(is_digit, text - np.uint8(ord("0")), 0).astype(np.uint16)
    second, third, fourth = (_shifted(is_digit, by) for by in (1, 2, 3))
    if (is_digit & second & third & fourth).any():
        raise NoTensor('"data" are not whole numbers from 0 to 255.')
    is_end = is_digit.copy()
    is_end[:-1] &= ~is_digit[1:]
    begins_with_zero = is_digit & ~second & (digit == 0) & ~is_end
    tens, hundreds = _shifted(digit, 1), np.where(second, _shifted(digit, 2), 0)
    ends = np.flatnonzero(is_end)
    values = (digit + 10 * tens + 100 * hundreds)[ends].astype(np.uint16)
    if begins_with_zero.any() or (values > 255).any():
        raise NoTensor('"data" are not whole numbers from 0 to 255.')
    return values, ends


def _shifted(values: NDArray[Scalar], by: int) -> NDArray[Scalar]:
    """Return at each place what stands ``by`` places before it, zero at the beginning."""
    shifted = np.zeros_like(values)
    shifted[by:] = values[:-by]
    return shifted


def _marks(
    text: NDArray[np.uint8], is_digit: NDArray[np.bool_], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the tokens of a slice, one a number, and how many numbers end up to each."""
    is_token = ~is_digit & ~_SPACE[text]
    is_token[ends] = True
    places = np.flatnonzero(is_token)
    marks = np.where(is_digit[places], np.uint8(_NUMBER[0]), text[places])
    return marks, np.cumsum(marks == _NUMBER[0])

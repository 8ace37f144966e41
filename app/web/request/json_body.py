"""JSON bodies: a document is bounded before it is parsed, and its large members never are.

The bytes of a JSON body say little about what it becomes: twenty megabytes of ``[],[],…`` are half a
gigabyte of lists, and while ``json.loads`` makes them nobody else gets the interpreter. So long texts
(pictures in base64) and long arrays of numbers (tensors) are cut out first and stay in the body, and what is
left has to be small.
"""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.errors import MalformedRequest
from app.web.request.texts import LONG_BYTES, SLICE_BYTES, LongText

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors and .NET put before a text; RFC 8259, 8.1, lets a reader pass over it."""
REST_BYTES = 128 * 1024
"""Bound of a document without its large members."""
MAX_CONTAINERS = 1024
MAX_CUT = 64
_STEP = 4096
_MAX_ESCAPED_QUOTES = 16 * 1024
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")
_NO_NUMBERS = re.compile(rb"[^0-9,\[\] \t\r\n]")
_END_OF_ARRAY = re.compile(rb"\][ \t\r\n]*(?:,[ \t\r\n]*)?\Z")


@dataclass(frozen=True, slots=True)
class NumberText:
    """An array of numbers as it was sent: nothing but digits, commas, brackets and white space."""

    raw: memoryview


def read_json(body: bytes, *, end: int | None = None, numbers: str | None = None) -> dict[str, object]:
    """Read a JSON object whose names are unique.

    Texts of ``LONG_BYTES`` and more come as ``LongText``; they have to be members of an object.

    Args:
        body: What begins with the document.
        end: Where the document ends.
        numbers: The name of members that are arrays of whole numbers, which come as ``NumberText``.

    Raises:
        MalformedRequest: The body is none, or has too much in it besides its long texts.
    """
    cutter = _Cutter(body, len(body) if end is None else end, None if numbers is None else numbers.encode())
    cutter.cut()
    rest = bytes(cutter.rest)
    if rest.count(b"[") + rest.count(b"{") > MAX_CONTAINERS:
        raise MalformedRequest(f"The JSON body has more than {MAX_CONTAINERS} lists and objects.")
    try:
        members = json.loads(
            rest.decode("utf-8"), object_pairs_hook=cutter.put_back, parse_constant=_no_number
        )
        if b"\\u" in rest:  # the only way to half a surrogate pair
            json.dumps(members, ensure_ascii=False, default=lambda _: None).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedRequest("A text in the JSON body is not Unicode.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("The body is not JSON.") from error
    if cutter.left:
        raise MalformedRequest("A text in the JSON body is too long for its place.")
    if not isinstance(members, dict):
        raise MalformedRequest("The JSON body is not an object.")
    return members


def json_slices(raw: memoryview) -> Iterator[bytes]:
    """Yield the text between the quotes of a JSON string, without its escapes, slice by slice.

    What is not ASCII comes as something else that is not, for base64 has none but in the head of a data URL.

    Raises:
        ValueError: It is no JSON string.
    """
    start = 0
    while start < len(raw):
        piece = bytes(raw[start : start + SLICE_BYTES])
        piece = piece[: _whole_escapes(piece)] or piece
        start += len(piece)
        yield json.loads(f'"{piece.decode("latin-1")}"').encode("utf-8", "surrogatepass")


def _whole_escapes(piece: bytes) -> int:
    """Return how much of a slice ends before an escape that the slice cuts."""
    last = piece.rfind(b"\\", max(0, len(piece) - 5))
    if last < 0:
        return len(piece)
    begins_escape = _backslashes(piece, 0, last + 1) % 2 == 1
    is_whole = len(piece) > last + 1 and piece[last + 1 : last + 2] != b"u"
    return last if begins_escape and not is_whole else len(piece)


def _backslashes(body: bytes, start: int, stop: int) -> int:
    """Return how many backslashes stand right before ``stop``."""
    run = 0
    while stop > start:
        piece = body[max(start, stop - _STEP) : stop]
        here = len(piece) - len(piece.rstrip(b"\\"))
        run += here
        if here < len(piece):
            break
        stop -= here
    return run


@dataclass(slots=True)
class _Cutter:
    """Cuts large members out of a document, and puts them back into what is parsed.

    A name that nobody can know stands for each of them meanwhile.
    """

    body: bytes
    end: int
    numbers: bytes | None
    rest: bytearray = field(default_factory=bytearray)
    left: dict[str, LongText | NumberText] = field(default_factory=dict)
    _mark: str = field(default_factory=lambda: secrets.token_hex(16))
    _kept_until: int = 0
    _escaped_quotes: int = 0

    def cut(self) -> None:
        """Split the document into what is large and the rest."""
        body, whole = self.body, memoryview(self.body)
        if body.startswith(BYTE_ORDER_MARK):
            self._kept_until = len(BYTE_ORDER_MARK)
        quote = body.find(b'"', 0, self.end)
        while quote >= 0:
            close = self._closing(quote + 1)
            after = close + 1
            if close - quote > LONG_BYTES:
                self._take(LongText(whole[quote + 1 : close], json_slices), quote, after)
            elif self.numbers is not None and body[quote + 1 : close] == self.numbers:
                colon = _COLON.match(body, after, min(after + _STEP, self.end))
                stop = None if colon is None else self._end_of_numbers(colon.end())
                if colon is not None and stop is not None:
                    self._take(NumberText(whole[colon.end() : stop]), colon.end(), stop)
                    after = stop
            if len(self.rest) + after - self._kept_until > REST_BYTES:
                break  # which the next line says
            quote = body.find(b'"', after, self.end)
        self._keep(self.end)

    def put_back(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Make an object of its members, with what was cut out of it."""
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("a name is given twice")
        for name, value in members.items():
            if isinstance(value, str) and value in self.left:
                members[name] = self.left.pop(value)
        return members

    def _closing(self, start: int) -> int:
        """Return where the string ends whose text begins at ``start``."""
        close = self.body.find(b'"', start, self.end)
        while close >= 0 and _backslashes(self.body, start, close) % 2:
            self._escaped_quotes += 1
            if self._escaped_quotes > _MAX_ESCAPED_QUOTES:
                raise MalformedRequest("The JSON body has too many quotes in its texts.")
            close = self.body.find(b'"', close + 1, self.end)
        if close < 0:
            raise MalformedRequest("The body is not JSON.")
        return close

    def _end_of_numbers(self, start: int) -> int | None:
        """Return where the array ends that begins at ``start``; ``None`` if it is not all whole numbers."""
        stop = self.end
        for at in range(start, self.end, SLICE_BYTES):
            found = _NO_NUMBERS.search(self.body, at, min(at + SLICE_BYTES, self.end))
            if found is not None:
                stop = found.start()
                break
        last = _END_OF_ARRAY.search(self.body, max(start, stop - _STEP), stop)
        return None if last is None else last.start() + 1

    def _take(self, member: LongText | NumberText, start: int, stop: int) -> None:
        """Let a name stand for what is from ``start`` to ``stop``."""
        if len(self.left) >= MAX_CUT:
            raise MalformedRequest(f"The JSON body has more than {MAX_CUT} long texts.")
        self._keep(start)
        name = f"{self._mark}{len(self.left)}"
        self.left[name] = member
        self.rest += b'"%s"' % name.encode()
        self._kept_until = stop

    def _keep(self, stop: int) -> None:
        """Let all that comes before ``stop`` be parsed."""
        if len(self.rest) + stop - self._kept_until > REST_BYTES:
            raise MalformedRequest(
                f"The JSON body has more than {REST_BYTES // 1024} KiB besides its long texts."
            )
        self.rest += self.body[self._kept_until : stop]


def _no_number(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")

"""JSON bodies: parses a JSON document after checking its size, without parsing its large members.

The size of a JSON body does not limit the memory of the parsed document: twenty megabytes of ``[],[],…``
become half a gigabyte of lists, and ``json.loads`` blocks the interpreter while it builds them. So long texts
(pictures in base64) and long arrays of numbers (tensors) are extracted first and stay in the body, and the
remaining document must be small.
"""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.errors import MalformedRequest
from app.web.request.texts import LONG_BYTES, SLICE_BYTES, LongText

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some editors and .NET write it before a text; RFC 8259, 8.1, allows a parser to ignore it."""
MAX_REMAINDER_BYTES = 128 * 1024
"""Limit for a document without its large members."""
MAX_CONTAINERS = 1024
MAX_LARGE_MEMBERS = 64
_STEP = 4096
_MAX_ESCAPED_QUOTES = 16 * 1024
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")
_NOT_NUMBERS = re.compile(rb"[^0-9,\[\] \t\r\n]")
_END_OF_ARRAY = re.compile(rb"\][ \t\r\n]*(?:,[ \t\r\n]*)?\Z")


@dataclass(frozen=True, slots=True)
class NumberText:
    """An array of numbers as sent: only digits, commas, brackets and white space."""

    raw: memoryview


def read_json(body: bytes, *, end: int | None = None, numbers: str | None = None) -> dict[str, object]:
    """Parse a JSON object whose names are unique.

    Texts of ``LONG_BYTES`` or more become ``LongText``; they must be members of an object.

    Args:
        body: Bytes that start with the document.
        end: The end of the document in ``body``.
        numbers: The name of members that are arrays of whole numbers, which become ``NumberText``.

    Raises:
        MalformedRequest: The document is not a JSON object, or is too large without its long texts.
    """
    extractor = _Extractor(
        body, len(body) if end is None else end, None if numbers is None else numbers.encode()
    )
    extractor.extract()
    remainder = bytes(extractor.remainder)
    if remainder.count(b"[") + remainder.count(b"{") > MAX_CONTAINERS:
        raise MalformedRequest(f"The JSON body has more than {MAX_CONTAINERS} lists and objects.")
    try:
        members = json.loads(
            remainder.decode("utf-8"), object_pairs_hook=extractor.restore, parse_constant=_refuse_constant
        )
        if b"\\u" in remainder:  # only an escape can produce a lone surrogate
            json.dumps(members, ensure_ascii=False, default=lambda _: None).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedRequest("A text in the JSON body is not Unicode.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("The body is not JSON.") from error
    if extractor.extracted:
        raise MalformedRequest("A text in the JSON body is too long for its place.")
    if not isinstance(members, dict):
        raise MalformedRequest("The JSON body is not an object.")
    return members


def json_slices(raw: memoryview) -> Iterator[bytes]:
    """Decode the escapes of a JSON string, without its quotes, slice by slice.

    Characters outside ASCII become other characters outside ASCII. That is good enough for base64, which has
    them only in the prefix of a data URL.

    Raises:
        ValueError: The text is not a JSON string.
    """
    start = 0
    while start < len(raw):
        chunk = bytes(raw[start : start + SLICE_BYTES])
        chunk = chunk[: _whole_escapes(chunk)] or chunk
        start += len(chunk)
        yield json.loads(f'"{chunk.decode("latin-1")}"').encode("utf-8", "surrogatepass")


def _whole_escapes(chunk: bytes) -> int:
    """Return the length of a slice without an escape that is cut off at its end."""
    last = chunk.rfind(b"\\", max(0, len(chunk) - 5))
    if last < 0:
        return len(chunk)
    starts_escape = _backslashes(chunk, 0, last + 1) % 2 == 1
    is_whole = len(chunk) > last + 1 and chunk[last + 1 : last + 2] != b"u"
    return last if starts_escape and not is_whole else len(chunk)


def _backslashes(body: bytes, start: int, stop: int) -> int:
    """Return the number of consecutive backslashes right before ``stop``."""
    total = 0
    while stop > start:
        chunk = body[max(start, stop - _STEP) : stop]
        count = len(chunk) - len(chunk.rstrip(b"\\"))
        total += count
        if count < len(chunk):
            break
        stop -= count
    return total


@dataclass(slots=True)
class _Extractor:
    """Extracts large members from a document, and restores them after the remainder is parsed.

    Meanwhile an unpredictable name stands in for each of them.
    """

    body: bytes
    end: int
    numbers: bytes | None
    remainder: bytearray = field(default_factory=bytearray)
    extracted: dict[str, LongText | NumberText] = field(default_factory=dict)
    _placeholder: str = field(default_factory=lambda: secrets.token_hex(16))
    _copied_until: int = 0
    _escaped_quotes: int = 0

    def extract(self) -> None:
        """Split the document into its large members and the remainder."""
        body, whole = self.body, memoryview(self.body)
        if body.startswith(BYTE_ORDER_MARK):
            self._copied_until = len(BYTE_ORDER_MARK)
        quote = body.find(b'"', 0, self.end)
        while quote >= 0:
            close = self._end_of_string(quote + 1)
            after = close + 1
            if close - quote > LONG_BYTES:
                self._replace(LongText(whole[quote + 1 : close], json_slices), quote, after)
            elif self.numbers is not None and body[quote + 1 : close] == self.numbers:
                colon = _COLON.match(body, after, min(after + _STEP, self.end))
                stop = None if colon is None else self._end_of_numbers(colon.end())
                if colon is not None and stop is not None:
                    self._replace(NumberText(whole[colon.end() : stop]), colon.end(), stop)
                    after = stop
            if len(self.remainder) + after - self._copied_until > MAX_REMAINDER_BYTES:
                break  # ``_copy_until`` raises
            quote = body.find(b'"', after, self.end)
        self._copy_until(self.end)

    def restore(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Build an object from its members, with large members in place of their placeholders."""
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("a name is given twice")
        for name, value in members.items():
            if isinstance(value, str) and value in self.extracted:
                members[name] = self.extracted.pop(value)
        return members

    def _end_of_string(self, start: int) -> int:
        """Return the position of the quote that closes the string whose text begins at ``start``."""
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
        """Return the end of the array at ``start``, or ``None`` if it is not all whole numbers."""
        stop = self.end
        for position in range(start, self.end, SLICE_BYTES):
            found = _NOT_NUMBERS.search(self.body, position, min(position + SLICE_BYTES, self.end))
            if found is not None:
                stop = found.start()
                break
        last = _END_OF_ARRAY.search(self.body, max(start, stop - _STEP), stop)
        return None if last is None else last.start() + 1

    def _replace(self, member: LongText | NumberText, start: int, stop: int) -> None:
        """Replace the bytes from ``start`` to ``stop`` by a placeholder."""
        if len(self.extracted) >= MAX_LARGE_MEMBERS:
            raise MalformedRequest(f"The JSON body has more than {MAX_LARGE_MEMBERS} long texts.")
        self._copy_until(start)
        name = f"{self._placeholder}{len(self.extracted)}"
        self.extracted[name] = member
        self.remainder += b'"%s"' % name.encode()
        self._copied_until = stop

    def _copy_until(self, stop: int) -> None:
        """Copy everything before ``stop`` to the remainder."""
        if len(self.remainder) + stop - self._copied_until > MAX_REMAINDER_BYTES:
            raise MalformedRequest(
                f"The JSON body has more than {MAX_REMAINDER_BYTES // 1024} KiB besides its long texts."
            )
        self.remainder += self.body[self._copied_until : stop]


def _refuse_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")

"""Strict HTTP: refuses ambiguous request heads, and chunked bodies whose chunks are too small."""

import re

import h11

from app.web.cors import origin_of
from app.web.problems import HEAD_TOO_LARGE, HTTP_VERSION, MALFORMED, ProblemKind

HEAD_BYTES = 16 * 1024

MAX_HEAD_LINES = 200
"""h11 parses a head in one step, at a hundredth of a millisecond for each line."""
SLICE_LINES = 64
"""A chunk has two lines, and a chunk of one byte costs as much work as a large one."""
MANY_CHUNKS = 1000
MEAN_CHUNK_BYTES, COUNTED_CHUNK_BYTES = 64, 256
"""The minimum mean size of many chunks. A chunk counts with at most ``COUNTED_CHUNK_BYTES``: otherwise one
large chunk would allow thousands of tiny ones."""

MAX_EMPTY_LINES = 2
"""Before a request: some clients send a line break after a body that its length does not count (RFC 9112,
2.2)."""

_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:", re.IGNORECASE)
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_VERSION = re.compile(rb"[^\r]* HTTP/([0-9]+(?:\.[0-9]+)?)(?:\r|\Z)")


_URL = re.compile(rb"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HTTP_URL = re.compile(rb"https?://(?P<host>[^/?#@]+)(?P<rest>(?:[/?][^#]*)?)", re.IGNORECASE)
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer"})


class HeadRefused(h11.RemoteProtocolError):
    """A head is refused; ``kind`` and ``detail`` become the problem for the client."""

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def check_head(received: bytes, *, new_bytes: int | None = None) -> None:
    """Check the length, the HTTP version and the unambiguity of a head.

    Args:
        received: The received part of the head, perhaps with following bytes.
        new_bytes: The number of bytes that were not checked before; all of them if None.

    Raises:
        HeadRefused: The head is too long, of another version, or ambiguous.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    if len(head) > HEAD_BYTES:
        limit = f"{HEAD_BYTES // 1024} KiB"
        raise HeadRefused(HEAD_TOO_LARGE, f"The request's line and headers are longer than {limit}.")
    if head.count(b"\r\n") > MAX_HEAD_LINES:
        raise HeadRefused(HEAD_TOO_LARGE, f"The request has more than {MAX_HEAD_LINES} headers.")
    # Avoid searching the whole head again for each byte of a slow client.
    start = 0 if end or new_bytes is None else max(0, len(head) - new_bytes - 3)
    if is_ambiguous(head, is_whole=bool(end), start=start):
        raise HeadRefused(MALFORMED, "This is not an HTTP request that can be read in one way only.")
    version = _VERSION.match(head) if end else None
    if version and version[1] not in (b"1.0", b"1.1"):
        detail = "The request names a version of HTTP that is neither 1.0 nor 1.1."
        raise HeadRefused(HTTP_VERSION, detail)


def is_ambiguous(head: bytes, *, is_whole: bool, start: int = 0) -> bool:
    """Return whether two parsers could read a head differently; an incomplete head is checked in part.

    Bytes before ``start`` were checked before.
    """
    has_two_lengths = is_whole and _LENGTH.search(head) and _CODING.search(head)
    return bool(_AMBIGUOUS.search(head, start) or has_two_lengths)


def slice_end(received: bytes | bytearray) -> int:
    """Return the end of the next slice of received bytes: after ``SLICE_LINES`` lines, to limit its work."""
    position = 0
    for _ in range(SLICE_LINES):
        end = received.find(b"\r\n", position)
        if end < 0:
            return len(received)
        position = end + 2
    return position


def in_origin_form(request: h11.Request) -> h11.Request:
    """Convert an absolute-form target (a whole URL) to origin form, a path (RFC 9112, 3.2.2).

    The host of the URL replaces the Host header.

    Raises:
        HeadRefused: The target is a URL without a host, or with a scheme other than http and https.
    """
    if _URL.match(request.target) is None:
        return request
    found = _HTTP_URL.fullmatch(request.target)
    if found is None:
        raise HeadRefused(MALFORMED, "The request's target is a URL that is not one of http or has no host.")
    path = found["rest"] if found["rest"].startswith(b"/") else b"/" + found["rest"]
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=path,
        headers=[(b"host", found["host"]), *others],
        http_version=request.http_version,
    )


class StrictConnection(h11.Connection):
    """h11's connection, with strict checks of heads, of chunk sizes, and of the framing of chunked bodies.

    Trailer fields after a chunked body (RFC 9112, 7.1.2) are dropped, and the connection closes after the
    response: a proxy without support for trailer fields would find another end of the body.
    """

    refused: HeadRefused | None = None
    """The error of the last head, if it was refused."""
    status = 0
    """The status of the last response."""
    origin: str | None = None
    """The ``Origin`` of the last complete head, also of a refused one."""
    _empty_lines = 0
    _is_chunked = False
    had_trailer = False
    """Whether the last chunked body had trailer fields, so that the connection must close."""
    _chunks = 0
    _chunk_bytes = 0
    _bytes = 0
    _sized_bytes = 0
    """The rest of a body of known length."""

    def slice_end(self, received: bytes | bytearray) -> int:
        """Return the end of the next slice of received bytes; a body of known length needs no slices."""
        is_body = self._is_in_sized_body() and len(received) <= self._sized_bytes
        return len(received) if is_body else slice_end(received)

    def _is_in_sized_body(self) -> bool:
        return self.their_state is h11.SEND_BODY and self._sized_bytes > 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event.

        Raises:
            h11.RemoteProtocolError: The bytes are not HTTP, the head is refused, or the chunks are too small.
        """
        if self.their_state is h11.IDLE and not self._skip_empty_lines():
            return h11.NEED_DATA
        buffered = b"" if self._is_in_sized_body() else self.trailing_data[0]
        # h11 buffers at most one slice of a chunked body, but all of its trailer fields.
        if (
            self._is_chunked
            and self.their_state is h11.SEND_BODY
            and buffered.count(b"\r\n") > MAX_HEAD_LINES
        ):
            raise h11.RemoteProtocolError("there are too many trailer fields")
        if self.their_state is h11.IDLE and b"\r\n\r\n" in buffered:
            self._check_head(buffered)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._chunk_bytes = self._bytes = self._empty_lines = 0
            self._is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
            self.had_trailer = False
            lengths = [int(value) for name, value in event.headers if name == b"content-length"]
            self._sized_bytes = 0 if self._is_chunked else sum(lengths)
            return self._in_origin_form(event)
        if isinstance(event, h11.Data):
            if self._is_chunked:
                self._check_chunk(event, buffered)
            else:
                self._sized_bytes -= len(event.data)
        elif isinstance(event, h11.EndOfMessage) and self._is_chunked:
            self._check_body_end(event, buffered[: len(buffered) - len(self.trailing_data[0])])
        return event

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """Serialise an event; add ``Connection: close`` to an early response, and after trailer fields."""
        if isinstance(event, h11.Response):
            self.status = event.status_code
            if self.had_trailer or self.their_state is h11.SEND_BODY:
                others = [(name, value) for name, value in event.headers if name != b"connection"]
                headers = [*others, (b"connection", b"close")]
                event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        return super().send_with_data_passthrough(event)

    def _in_origin_form(self, request: h11.Request) -> h11.Request:
        try:
            return in_origin_form(request)
        except HeadRefused as refused:
            self.refused = refused
            raise

    def _check_body_end(self, end: h11.EndOfMessage, read: bytes) -> None:
        """Check the end of a chunked body: unambiguous trailer fields, if any, and an empty line."""
        is_loose = is_ambiguous(read, is_whole=False) or not (read == b"\r\n" or read.endswith(b"\r\n\r\n"))
        frames = any(name in _FRAMING for name, _ in end.headers)
        has_response = self.our_state is not h11.SEND_RESPONSE
        if is_loose or frames or (end.headers and has_response):
            raise h11.RemoteProtocolError("the end of a chunked body is malformed")
        self.had_trailer = bool(end.headers)

    def _skip_empty_lines(self) -> bool:
        """Skip line breaks before a request; return False while the next bytes may be another one to skip."""
        while self._empty_lines < MAX_EMPTY_LINES and self.trailing_data[0].startswith(b"\r\n"):
            self._receive_buffer.maybe_extract_at_most(2)
            self._empty_lines += 1
        return self._empty_lines == MAX_EMPTY_LINES or self.trailing_data[0] != b"\r"

    def _check_head(self, buffered: bytes) -> None:
        self.origin = origin_of(buffered)
        try:
            check_head(buffered)
        except HeadRefused as refused:
            self.refused = refused
            raise

    def _check_chunk(self, data: h11.Data, buffered: bytes) -> None:
        """Check the chunk header before a part of a body, and count the chunks and their sizes."""
        line = buffered.lstrip(b"\r\n").partition(b"\r\n")[0] if data.chunk_start else b""
        if b"\r" in line or b"\n" in line:
            raise h11.RemoteProtocolError("a chunk header is ambiguous")
        self._chunk_bytes += len(data.data)
        if data.chunk_end:
            self._chunks += 1
            self._bytes += min(self._chunk_bytes, COUNTED_CHUNK_BYTES)
            self._chunk_bytes = 0
        if self._chunks > MANY_CHUNKS and self._bytes < MEAN_CHUNK_BYTES * self._chunks:
            raise h11.RemoteProtocolError("the chunks of the body are too small")

"""Strict HTTP: heads that can be read in one way only, and bodies in chunks that are worth their work."""

import re

import h11

from app.web.cors import origin_of
from app.web.problems import HEAD_TOO_LARGE, HTTP_VERSION, MALFORMED, ProblemKind

HEAD_BYTES = 16 * 1024

MAX_HEAD_LINES = 200
"""h11 reads a head in one step, which takes a hundredth of a millisecond a line."""
SLICE_LINES = 64
"""A chunk has two, and one of a single byte costs as much work as a large one."""
MANY_CHUNKS = 1000
MEAN_CHUNK_BYTES, COUNTED_CHUNK_BYTES = 64, 256
"""The mean that many chunks need, and how much of a large one counts, or it would pay for thousands."""

MAX_EMPTY_LINES = 2
"""Before a request; some clients end a body with a line break that they do not count (RFC 9112, 2.2)."""

_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:", re.IGNORECASE)
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_VERSION = re.compile(rb"[^\r]* HTTP/([0-9]+(?:\.[0-9]+)?)(?:\r|\Z)")


_URL = re.compile(rb"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HTTP_URL = re.compile(rb"https?://(?P<host>[^/?#@]+)(?P<rest>(?:[/?][^#]*)?)", re.IGNORECASE)
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer"})


class HeadRefused(h11.RemoteProtocolError):
    """A head that is not read; ``kind`` says why, and ``detail`` says it to the client."""

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def check_head(received: bytes, *, new_bytes: int | None = None) -> None:
    """Refuse a head that is too long, of another version, or that can be read in two ways.

    Args:
        received: What has come of it, and perhaps what follows it.
        new_bytes: How much of that was not checked before; all of it if None.

    Raises:
        HeadRefused: It is one of these.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    if len(head) > HEAD_BYTES:
        limit = f"{HEAD_BYTES // 1024} KiB"
        raise HeadRefused(HEAD_TOO_LARGE, f"The request's line and headers are longer than {limit}.")
    if head.count(b"\r\n") > MAX_HEAD_LINES:
        raise HeadRefused(HEAD_TOO_LARGE, f"The request has more than {MAX_HEAD_LINES} headers.")
    # A head that comes byte by byte is not searched as a whole each time.
    start = 0 if end or new_bytes is None else max(0, len(head) - new_bytes - 3)
    if is_ambiguous(head, is_whole=bool(end), start=start):
        raise HeadRefused(MALFORMED, "This is not an HTTP request that can be read in one way only.")
    version = _VERSION.match(head) if end else None
    if version and version[1] not in (b"1.0", b"1.1"):
        detail = "The request names a version of HTTP that is neither 1.0 nor 1.1."
        raise HeadRefused(HTTP_VERSION, detail)


def is_ambiguous(head: bytes, *, is_whole: bool, start: int = 0) -> bool:
    """Tell whether two readers could read a head differently; one that is not whole may become so.

    What comes before ``start`` was looked at before.
    """
    tells_twice = is_whole and _LENGTH.search(head) and _CODING.search(head)
    return bool(_AMBIGUOUS.search(head, start) or tells_twice)


def slice_end(received: bytes | bytearray) -> int:
    """Return where a slice of what came ends, so that reading it is little work: after so many lines."""
    at = 0
    for _ in range(SLICE_LINES):
        end = received.find(b"\r\n", at)
        if end < 0:
            return len(received)
        at = end + 2
    return at


def in_origin_form(request: h11.Request) -> h11.Request:
    """Return a request whose target is a path, also where it was sent as a whole URL (RFC 9112, 3.2.2).

    The host of such a target takes the place of the Host header.

    Raises:
        HeadRefused: The target is a URL without a host, or of another scheme than http and https.
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
    """h11's connection, which refuses odd heads, bodies whose chunks are many and tiny, and loose framing.

    Fields behind a body in chunks (RFC 9112, 7.1.2) are dropped, and the connection ends with its answer: a
    proxy that does not know of them would take the body's end for somewhere else.
    """

    refused: HeadRefused | None = None
    """The head that was refused, if it was."""
    status = 0
    """Of the last answer."""
    origin: str | None = None
    """The origin that the last whole head names, also one that is refused."""
    _empty_lines = 0
    _is_chunked = False
    had_trailer = False
    """Whether the last body in chunks ended with fields, behind which the connection ends."""
    _chunks = 0
    _chunk_bytes = 0
    _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next.

        Raises:
            h11.RemoteProtocolError: It is no HTTP, a head that is refused, or a chunk too many.
        """
        if self.their_state is h11.IDLE and not self._skip_empty_lines():
            return h11.NEED_DATA
        waiting = self.trailing_data[0]
        # Of a body in chunks no more lines than those of one slice ever wait, but for fields behind it.
        if self._is_chunked and self.their_state is h11.SEND_BODY and waiting.count(b"\r\n") > MAX_HEAD_LINES:
            raise h11.RemoteProtocolError("there are too many fields behind a body in chunks")
        if self.their_state is h11.IDLE and b"\r\n\r\n" in waiting:
            self._check_head(waiting)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._chunk_bytes = self._bytes = self._empty_lines = 0
            self._is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
            self.had_trailer = False
            return self._in_origin_form(event)
        if isinstance(event, h11.Data):
            self._check_chunk(event, waiting)
        elif isinstance(event, h11.EndOfMessage) and self._is_chunked:
            self._check_end(event, waiting[: len(waiting) - len(self.trailing_data[0])])
        return event

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """Return an event's bytes; an answer before the body's end, or after trailer fields, is the last."""
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

    def _check_end(self, end: h11.EndOfMessage, read: bytes) -> None:
        """Look at what ends a body in chunks: an empty line, perhaps behind fields, in one reading only."""
        is_loose = is_ambiguous(read, is_whole=False) or not (read == b"\r\n" or read.endswith(b"\r\n\r\n"))
        frames = any(name in _FRAMING for name, _ in end.headers)
        is_answered = self.our_state is not h11.SEND_RESPONSE
        if is_loose or frames or (end.headers and is_answered):
            raise h11.RemoteProtocolError("a body in chunks ends otherwise than by fields and an empty line")
        self.had_trailer = bool(end.headers)

    def _skip_empty_lines(self) -> bool:
        """Pass over line breaks before a request; return whether the next bytes are known not to be one."""
        while self._empty_lines < MAX_EMPTY_LINES and self.trailing_data[0].startswith(b"\r\n"):
            self._receive_buffer.maybe_extract_at_most(2)
            self._empty_lines += 1
        return self._empty_lines == MAX_EMPTY_LINES or self.trailing_data[0] != b"\r"

    def _check_head(self, waiting: bytes) -> None:
        self.origin = origin_of(waiting)
        try:
            check_head(waiting)
        except HeadRefused as refused:
            self.refused = refused
            raise

    def _check_chunk(self, data: h11.Data, waiting: bytes) -> None:
        """Count a piece of a body, and look at the line that begins its chunk."""
        line = waiting.lstrip(b"\r\n").partition(b"\r\n")[0] if data.chunk_start else b""
        if b"\r" in line or b"\n" in line:
            raise h11.RemoteProtocolError("the head of a chunk can be read in more than one way")
        self._chunk_bytes += len(data.data)
        if data.chunk_end:
            self._chunks += 1
            self._bytes += min(self._chunk_bytes, COUNTED_CHUNK_BYTES)
            self._chunk_bytes = 0
        if self._chunks > MANY_CHUNKS and self._bytes < MEAN_CHUNK_BYTES * self._chunks:
            raise h11.RemoteProtocolError("the body comes in tiny chunks")

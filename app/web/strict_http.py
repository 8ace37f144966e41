"""Strict HTTP: heads that can be read in one way only, and bodies in chunks that are worth their work."""

import re

import h11

SLICE_LINES = 64
"""A chunk has two, and one of a single byte costs as much work as a large one."""
MANY_CHUNKS = 1000
MEAN_CHUNK_BYTES = 64

_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:", re.IGNORECASE)
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


def is_ambiguous(head: bytes, *, is_whole: bool) -> bool:
    """Tell whether two readers could read a head differently; one that is not whole may become so."""
    tells_twice = is_whole and _LENGTH.search(head) and _CODING.search(head)
    return bool(_AMBIGUOUS.search(head) or tells_twice)


def slice_end(received: bytes | bytearray) -> int:
    """Return where a slice of what came ends, so that reading it is little work: after so many lines."""
    at = 0
    for _ in range(SLICE_LINES):
        end = received.find(b"\r\n", at)
        if end < 0:
            return len(received)
        at = end + 2
    return at


class StrictConnection(h11.Connection):
    """h11's connection, which refuses ambiguous heads, and bodies whose chunks are many and tiny."""

    _chunks = 0
    _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next.

        Raises:
            h11.RemoteProtocolError: It is no HTTP, an ambiguous head, or a chunk too many.
        """
        if self.their_state is h11.IDLE:
            head, end, _ = self.trailing_data[0].partition(b"\r\n\r\n")
            if is_ambiguous(head, is_whole=bool(end)):
                raise h11.RemoteProtocolError("the head can be read in more than one way")
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._bytes += len(event.data)
            if self._chunks > MANY_CHUNKS and self._bytes < MEAN_CHUNK_BYTES * self._chunks:
                raise h11.RemoteProtocolError("the body comes in tiny chunks")
        return event

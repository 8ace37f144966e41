"""Chunks: a body may come in chunks of one byte, and each costs as much work as a large one."""

import h11

SLICE_LINES = 64
MANY_CHUNKS = 1000
MEAN_CHUNK_BYTES = 64


def slice_end(received: bytes | bytearray) -> int:
    """Return where a slice of what came ends, so that reading it is little work: after so many lines."""
    at = 0
    for _ in range(SLICE_LINES):
        end = received.find(b"\r\n", at)
        if end < 0:
            return len(received)
        at = end + 2
    return at


class ChunkCounter(h11.Connection):
    """h11's connection, which refuses a body whose chunks are many and tiny."""

    _chunks = 0
    _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next.

        Raises:
            h11.RemoteProtocolError: It is no HTTP, or a chunk too many.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._bytes += len(event.data)
            if self._chunks > MANY_CHUNKS and self._bytes < MEAN_CHUNK_BYTES * self._chunks:
                raise h11.RemoteProtocolError("the body comes in tiny chunks")
        return event

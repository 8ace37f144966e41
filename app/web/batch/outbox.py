"""Outbox: finished results of a batch that wait to be written, bounded while the client does not read.

Many clients do not read a response before they have sent the whole request. If the server stopped reading
then, both would wait for each other for ever. So results are kept up to a limit, and no more work begins
beyond it; if the client has not read for a while, ``wait_for_room`` raises ``ResultsUnread``.
"""

import asyncio
from collections import deque

from app.engine.clock import Clock
from app.errors import ResultsUnread
from app.web.batch.item import ItemResult


class Outbox:
    """The results of one batch that are not written yet.

    Args:
        clock: The clock of the service.
        limit_bytes: The size of results beyond which no more work begins.
        patience_s: The time for a client to read some of them.
    """

    def __init__(self, clock: Clock, *, limit_bytes: int, patience_s: float) -> None:
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._patience_s = patience_s
        self._waiting: deque[ItemResult] = deque()
        self._changed = asyncio.Event()
        self._is_closed = False
        self._written_at_s = clock.now_s()
        self.held_bytes = 0

    def put(self, item: ItemResult) -> None:
        """Add a result."""
        if self.held_bytes == 0:  # until now, the client had nothing to read
            self.note_progress()
        self._waiting.append(item)
        self.held_bytes += item.size_bytes
        self._changed.set()

    def close(self) -> None:
        """Let ``take`` return ``None`` after the last result."""
        self._is_closed = True
        self._changed.set()

    def drop(self) -> None:
        """Release all results: the client is gone."""
        for item in self._waiting:
            item.release()
        self._waiting.clear()

    async def take(self) -> ItemResult | None:
        """Wait for the next result; ``None`` if there are no more."""
        while not self._waiting and not self._is_closed:
            await self._wait()
        return self._waiting.popleft() if self._waiting else None

    def note_progress(self) -> None:
        """Note that the client has read something, or gets something to read."""
        self._written_at_s = self._clock.now_s()

    def finish(self, item: ItemResult) -> None:
        """Release a result that is written."""
        item.release()
        self.held_bytes -= item.size_bytes
        self._changed.set()

    async def wait_for_room(self) -> None:
        """Wait while the results held exceed the limit.

        Raises:
            ResultsUnread: The client does not read.
        """
        while self.held_bytes > self._limit_bytes:
            left_s = self._written_at_s + self._patience_s - self._clock.now_s()
            if left_s <= 0:
                raise ResultsUnread(self._limit_bytes)
            try:
                async with asyncio.timeout(left_s):
                    await self._wait()
            except TimeoutError:
                continue

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

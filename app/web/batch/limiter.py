"""Limiter: limits the batches in progress, and the pictures of all batches that are at work.

Other requests go first: a server works on few pictures of batches at a time, whatever their number, and the
batches take turns.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from app.errors import Overloaded

RETRY_AFTER_S = 5


class BatchLimiter:
    """The batches in progress. Not thread-safe: called on the event loop only.

    Args:
        max_batches: The most batches at a time.
    """

    def __init__(self, max_batches: int) -> None:
        self._max_batches = max_batches
        self._slots: asyncio.Semaphore | None = None
        self.batches = 0
        self.pictures = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a batch during the block.

        Raises:
            Overloaded: The maximum number of batches is in progress.
        """
        if self.batches >= self._max_batches:
            raise Overloaded("batches in flight", retry_after_s=RETRY_AFTER_S)
        self.batches += 1
        try:
            yield
        finally:
            self.batches -= 1

    @asynccontextmanager
    async def slot(self, concurrency: int) -> AsyncIterator[None]:
        """Wait until another picture may be at work, for the block; first come, first served.

        Args:
            concurrency: The most pictures at work; only the first call counts.
        """
        if self._slots is None:
            self._slots = asyncio.Semaphore(concurrency)
        async with self._slots:
            self.pictures += 1
            try:
                yield
            finally:
                self.pictures -= 1

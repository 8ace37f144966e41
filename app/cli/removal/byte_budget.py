"""Byte budget: bounds the bytes that the pictures in flight hold together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import UploadTooLarge


class ByteBudget:
    """Lets tasks wait until the bytes that all hold together fit a maximum."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._held = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def holding(self, count: int) -> AsyncIterator[None]:
        """Hold ``count`` bytes for the block, and wait for them if necessary.

        Raises:
            UploadTooLarge: The bytes exceed the maximum.
        """
        if count > self._maximum:
            raise UploadTooLarge(self._maximum)
        async with self._changed:
            await self._changed.wait_for(lambda: self._held + count <= self._maximum)
            self._held += count
        try:
            yield
        finally:
            async with self._changed:
                self._held -= count
                self._changed.notify_all()

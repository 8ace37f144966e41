"""Places: lets large pictures be decoded a few at a time, so that the others wait as files and not as pixels.

Decoding is much faster than what follows it, so without a limit every picture that waits for the network is
in memory, at ten times the size of its file. Only a few need to be there to keep all cores busy.

Rule 1: a picture gets a place if few others have one, or if all of them together have few pixels. So small
pictures, whose memory does not matter, hardly ever wait.
Rule 2: places are given in order of arrival.
"""

import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.engine.threads.trampoline import ThreadAwaitable


@dataclass(eq=False, slots=True)
class _Waiting:
    """A picture that waits; the future ends when it has a place."""

    pixels: int
    future: "Future[None]" = field(default_factory=Future)


class Places:
    """The places of one kind of picture; thread-safe."""

    def __init__(self, pictures: int, pixels: int) -> None:
        """Create the places.

        Args:
            pictures: How many pictures get one, whatever their sizes; at least one.
            pixels: How many pixels more pictures than that may have together.
        """
        self._pictures = pictures
        self._pixels = pixels
        self._lock = threading.Lock()
        self._taken = 0
        self._taken_pixels = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def waiting(self) -> int:
        """The number of pictures that wait for a place."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, pixels: int) -> AsyncIterator[bool]:
        """Have a place for the block, in a coroutine on threads, and say whether it was waited for."""
        waiting = self._enter(pixels)
        if waiting is not None:
            await self._wait(waiting)
        try:
            yield waiting is not None
        finally:
            self._leave(pixels)

    def _enter(self, pixels: int) -> _Waiting | None:
        """Take a place, or return the end of the queue."""
        with self._lock:
            if not self._waiting and self._has_room_for(pixels):
                self._take(pixels)
                return None
            waiting = _Waiting(pixels)
            self._waiting.append(waiting)
            return waiting

    async def _wait(self, waiting: _Waiting) -> None:
        try:
            await ThreadAwaitable(waiting.future, waiting.future.cancel)
        except BaseException:
            with self._lock:
                is_queued = waiting in self._waiting
                if is_queued:
                    self._waiting.remove(waiting)
            if not is_queued and not waiting.future.cancelled():  # it got its place at the same instant
                self._leave(waiting.pixels)
            raise

    def _leave(self, pixels: int) -> None:
        """Give a place back, and give the free places to those that wait."""
        given = []
        with self._lock:
            self._taken -= 1
            self._taken_pixels -= pixels
            while self._waiting and self._has_room_for(self._waiting[0].pixels):
                first = self._waiting.popleft()
                if first.future.set_running_or_notify_cancel():
                    self._take(first.pixels)
                    given.append(first)
        for each in given:  # outside of the lock: the coroutine that waited goes on here
            each.future.set_result(None)

    def _has_room_for(self, pixels: int) -> bool:
        return self._taken < self._pictures or self._taken_pixels + pixels <= self._pixels

    def _take(self, pixels: int) -> None:
        self._taken += 1
        self._taken_pixels += pixels

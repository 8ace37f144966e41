"""Reading: receives the body of a batch, within limits on its size and on the time that its client takes."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.types import Message

from app.engine.clock import Clock
from app.errors import UploadTooLarge, UploadTooSlow
from app.web.problems import ClientDisconnected

CHECK_EVERY_S = 0.5
"""The time between two checks while no bytes arrive."""


class BodyReader:
    """The body of one batch.

    The client has ``timeout_s`` for each picture. Only the time in which the server waits for bytes counts:
    when the server is busy, it stops reading, and the client has to wait.

    Args:
        request: The request.
        clock: The clock of the service.
        limit_bytes: The most bytes.
        timeout_s: The time to wait for the bytes of one picture.
    """

    def __init__(self, request: Request, clock: Clock, *, limit_bytes: int, timeout_s: float) -> None:
        self._request = request
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._timeout_s = self._left_s = timeout_s
        self.received_bytes = 0
        self.waited_s = 0.0
        self.is_at_end = False

    def begin_picture(self) -> None:
        """Give the client the whole time again, for the next picture."""
        self._left_s = self._timeout_s

    async def chunks(self, check: Callable[[], None]) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Args:
            check: Called before bytes are received, and while none arrive; its errors end the body.

        Raises:
            UploadTooLarge: The body exceeds ``limit_bytes``.
            UploadTooSlow: The bytes of a picture do not arrive in time.
            ClientDisconnected: The client closed the connection.
        """
        while not self.is_at_end:
            chunk = await self._receive(check)
            self.received_bytes += len(chunk)
            if self.received_bytes > self._limit_bytes:
                raise UploadTooLarge(self._limit_bytes)
            if chunk:
                yield chunk

    async def _receive(self, check: Callable[[], None]) -> bytes:
        begun_s = self._clock.now_s()
        message = await self._next_message(check)
        waited_s = self._clock.now_s() - begun_s
        self.waited_s += waited_s
        self._left_s -= waited_s
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        self.is_at_end = not message.get("more_body", False)
        body = message.get("body", b"")
        return bytes(body)

    async def _next_message(self, check: Callable[[], None]) -> Message:
        receiving = asyncio.ensure_future(self._request.receive())
        left_s = self._left_s
        try:
            while not receiving.done():
                check()
                pause_s = max(0.0, min(left_s, CHECK_EVERY_S))
                await asyncio.wait({receiving}, timeout=pause_s)
                left_s -= pause_s
                if left_s <= 0 and not receiving.done():
                    raise UploadTooSlow(self._timeout_s)
            return receiving.result()
        finally:
            receiving.cancel()

"""Body end: an answer waits a moment for the rest of its request's body, so that the connection can be kept.

An answer that overtakes the body is its connection's last (``app/web/strict_http.py``). Most bodies of
refused requests are small or on their way as a whole: what comes within a second is read and dropped.
"""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

PATIENCE_S = 1.0


class BodyWatch:
    """Wraps ``receive`` and knows whether the request's body has come to its end."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._receive = receive
        self.is_waited_for = has_body and "expect" not in headers
        """Whether an answer waits for what still comes; not where the client itself waits to be asked."""

    async def __call__(self) -> Message:
        """Pass one message on."""
        message = await self._receive()
        if not message.get("more_body", False):
            self.is_waited_for = False
        return message

    async def wait_for_end(self, *, at_most_s: float) -> None:
        """Drop what is still coming.

        Args:
            at_most_s: Time until the request's deadline, when it has to be answered.
        """
        if not self.is_waited_for or at_most_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(min(PATIENCE_S, at_most_s)):
                while self.is_waited_for:
                    await self()
        self.is_waited_for = False

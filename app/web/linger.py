"""Linger: a client that is refused early may finish sending, or it would never read the answer.

Closing a connection on unread bytes makes the operating system reset it, and the answer is lost
on the way. What a refused client still sends is read and dropped, for a short while.
"""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

LINGER_S = 1.0


class BodyWatch:
    """Wraps ``receive`` and knows whether the request's body has come to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_at_end = False

    async def __call__(self) -> Message:
        """Pass one message on."""
        message = await self._receive()
        self.is_at_end = self.is_at_end or not message.get("more_body", False)
        return message

    async def linger(self, scope: Scope) -> None:
        """Drop what is still coming, unless the client waits to be told to send it."""
        if "expect" in Headers(scope=scope):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.is_at_end:
                    await self()

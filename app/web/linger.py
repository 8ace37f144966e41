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

    async def linger(self, scope: Scope, *, at_most_s: float) -> None:
        """Drop what is still coming, unless the client waits to be told to send it.

        Args:
            scope: Of the request.
            at_most_s: Time until its deadline, when it has to be answered.
        """
        if "expect" in Headers(scope=scope) or at_most_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(min(LINGER_S, at_most_s)):
                while not self.is_at_end:
                    await self()

"""Body end: a response waits up to a second for the rest of its request's body.

A response that overtakes the body must be the connection's last (``app/web/strict_http.py``), and a proxy on
Go's ``net/http`` then resets its own client. Most bodies of refused requests are small or already on the way,
so a short wait, in which the rest is read and dropped, keeps the connection usable.
"""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.context import RequestContext, context_of
from app.web.lingering import DropRate

PATIENCE_S = 1.0
PATIENCE_BYTES = 32 * 2**20
MAX_WAITING = 16
"""Responses that wait at a time; each may hold a third of a mebibyte of its body. Others go out at once."""
TOO_SLOW = 408
LAST = frozenset({401, TOO_SLOW, 413})
"""Always the connection's last response: some clients that send so much read until it is closed."""


class BodyEnd:
    """Pure ASGI, outside the wall: holds an answer back until the body has come, or for a second."""

    def __init__(self, app: ASGIApp, *, rate: DropRate) -> None:
        self._app = app
        self._rate = rate
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _is_sending(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._rate)

        async def send_behind(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_at_end:
                if message["status"] in LAST:
                    MutableHeaders(scope=message)["Connection"] = "close"
                if message["status"] != TOO_SLOW and self._waiting < MAX_WAITING:
                    self._waiting += 1
                    try:
                        await body.drop_rest(context_of(scope))
                    finally:
                        self._waiting -= 1
            await send(message)

        await self._app(scope, body.receive, send_behind)


def _is_sending(headers: Headers) -> bool:
    """Tell whether a body is under way; one that waits to be asked for is not."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return has_body and "expect" not in headers


class _Body:
    """A request's body, which knows whether it has come to its end."""

    def __init__(self, receive: Receive, rate: DropRate) -> None:
        self._receive = receive
        self._rate = rate
        self.is_at_end = False

    async def receive(self) -> Message:
        """Pass one message on."""
        message = await self._receive()
        self.is_at_end = self.is_at_end or not message.get("more_body", False)
        return message

    async def drop_rest(self, context: RequestContext) -> None:
        """Drop what comes for a second, and not beyond the request's deadline, when it has to be answered."""
        patience_s = min(PATIENCE_S, context.deadline_s - context.steps.now_s())
        if self.is_at_end or patience_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                dropped_bytes = 0
                while not self.is_at_end and dropped_bytes < PATIENCE_BYTES:
                    size_bytes = len((await self.receive()).get("body", b""))
                    dropped_bytes += size_bytes
                    await asyncio.sleep(self._rate.take(size_bytes))

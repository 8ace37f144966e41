"""Body end: delays an early response for up to a second, until the request's body has arrived.

A response before the end of the body must be the connection's last (``app/web/strict_http.py``), and a proxy
that uses Go's ``net/http`` then resets its own client. Most bodies of refused requests are small or already
in transit, so a short wait, in which the rest is read and dropped, keeps the connection usable.
"""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.pipeline.context import RequestContext
from app.web.context import context_of
from app.web.lingering import DropRate

MAX_WAIT_S = 1.0
MAX_DROPPED_BYTES = 32 * 2**20
MAX_WAITING = 16
"""Limit on delayed responses; each may hold a third of a mebibyte of its body. Others are sent at once."""
TOO_SLOW = 408
CLOSING_STATUSES = frozenset({401, TOO_SLOW, 413})
"""Statuses that always close the connection: some clients that send so much read until it is closed."""
PROXY_HEADERS = ("via", "x-forwarded-for", "forwarded")
"""Each shows that a proxy has forwarded the request."""


class BodyEnd:
    """Pure ASGI, outside ``ProblemWall``: delays a response until the body has arrived, or for a second."""

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

        async def send_after_body(message: Message) -> None:
            is_early = not body.is_at_end and not context_of(scope).is_duplex
            if message["type"] == "http.response.start" and is_early:
                if message["status"] in CLOSING_STATUSES:
                    MutableHeaders(scope=message)["Connection"] = "close"
                if message["status"] != TOO_SLOW and self._waiting < MAX_WAITING:
                    self._waiting += 1
                    try:
                        await body.drop_rest(context_of(scope))
                    finally:
                        self._waiting -= 1
            await send(message)

        await self._app(scope, body.receive, send_after_body)


def _is_sending(headers: Headers) -> bool:
    """Return whether the client is sending a body.

    With ``Expect`` a client waits for a 100 response first. A proxy may pass that header on and send the body
    anyway, as Caddy does, because its own client has got a 100 response from it.
    """
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return has_body and ("expect" not in headers or any(name in headers for name in PROXY_HEADERS))


class _Body:
    """The body of a request, with the state of its transfer."""

    def __init__(self, receive: Receive, rate: DropRate) -> None:
        self._receive = receive
        self._rate = rate
        self.is_at_end = False

    async def receive(self) -> Message:
        """Receive one message."""
        message = await self._receive()
        self.is_at_end = self.is_at_end or not message.get("more_body", False)
        return message

    async def drop_rest(self, context: RequestContext) -> None:
        """Receive and drop the rest of the body, for up to a second and not after the request's deadline."""
        wait_s = min(MAX_WAIT_S, context.deadline_s - context.steps.now_s())
        if self.is_at_end or wait_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                dropped_bytes = 0
                while not self.is_at_end and dropped_bytes < MAX_DROPPED_BYTES:
                    size_bytes = len((await self.receive()).get("body", b""))
                    dropped_bytes += size_bytes
                    await asyncio.sleep(self._rate.take(size_bytes))

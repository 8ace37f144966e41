"""Disconnect: cancels a request's work when its client closes the connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import Request

from app.web.problems import ClientDisconnected

LOST_KEY = "connection_lost"
"""The name in ``scope["state"]`` of an event that is set when the connection has ended."""


async def wait_for_loss(request: Request) -> None:
    """Wait until the connection of a request has ended, also while its body is not being read.

    A server without the event waits for ever.

    Raises:
        ClientDisconnected: The client closed the connection.
    """
    lost: asyncio.Event = request.scope.get("state", {}).get(LOST_KEY) or asyncio.Event()
    await lost.wait()
    raise ClientDisconnected


async def wait_for_disconnect(request: Request) -> None:
    """Wait until the client of a request, whose body was read to its end, closes the connection.

    Raises:
        ClientDisconnected: The client closed the connection.
    """
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnected


@asynccontextmanager
async def cancel_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel the block as soon as the client closes the connection.

    The body of the request must have been read to its end.

    Raises:
        ClientDisconnected: The client closed the connection first.
    """
    working = asyncio.current_task()
    assert working is not None  # noqa: S101 - coroutines of the event loop are tasks
    has_disconnected = False

    async def watch() -> None:
        nonlocal has_disconnected
        with suppress(ClientDisconnected):
            await wait_for_disconnect(request)
        has_disconnected = True
        working.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not has_disconnected:
            raise
        working.uncancel()
        raise ClientDisconnected from None
    finally:
        watching.cancel()

"""Disconnect: cancels the work of a request when its client closes the connection."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.web.problems import ClientDisconnected

T = TypeVar("T")


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, or cancel it as soon as the client closes the connection.

    The request's body must have been read to its end.

    Raises:
        ClientDisconnected: The client closed the connection first.
    """
    working = asyncio.current_task()
    assert working is not None  # noqa: S101 - coroutines of the event loop are tasks
    has_disconnected = False

    async def watch() -> None:
        nonlocal has_disconnected
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_disconnected = True
        working.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not has_disconnected:
            raise
        working.uncancel()
        raise ClientDisconnected from None
    finally:
        watching.cancel()

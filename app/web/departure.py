"""Departure: work stops when the client that asked for it has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.web.problems import ClientDeparted

Result = TypeVar("Result")


async def unless_departed(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await ``work``, or cancel it as soon as the client closes the connection.

    The request's body must have been read to its end.

    Raises:
        ClientDeparted: The client left first.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDeparted
        return working.result()
    finally:
        watching.cancel()
        if working.cancel():
            await asyncio.gather(working, return_exceptions=True)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

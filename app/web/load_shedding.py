"""Gate: what cannot be answered in time is refused before anything else looks at it.

In a flood nearly every request ends here, and while the event loop refuses one, a network that runs on all
cores waits for the core it took. So this stands before the framework's routing, where a refusal costs a
quarter less than behind it.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import MalformedRequest
from app.web.context import context_of
from app.web.endpoints.table import find
from app.web.service import Service


class LoadShedder:
    """Pure ASGI, inside the wall: gives a request that brings a picture its deadline, or refuses it."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and _brings_picture(scope["method"], scope["path"]):
            context = context_of(scope)
            allowed_s = allowed_seconds(Headers(scope=scope), self._service.settings.limits.deadline_s)
            context.deadline_s = context.started_s + allowed_s
            in_flight_px = self._service.admission.pixels
            self._service.ready_pipeline().check_time(context.deadline_s, pixels_in_flight=in_flight_px)
        await self._app(scope, receive, send)


def _brings_picture(method: str, path: str) -> bool:
    endpoint = find(path)
    return endpoint is not None and method in endpoint.picture_methods


def allowed_seconds(headers: Headers, longest_s: float) -> float:
    """Return the seconds a request has: its ``X-Request-Timeout-Ms``, or the server's if that is less.

    Raises:
        MalformedRequest: It is not a whole number of milliseconds above 0.
    """
    text = headers.get("x-request-timeout-ms")
    if text is None:
        return longest_s
    if not text.isascii() or not text.isdigit() or not int(text[:10]) > 0:
        raise MalformedRequest("The X-Request-Timeout-Ms header is not a whole number of milliseconds.")
    return min(int(text[:10]) / 1000, longest_s)

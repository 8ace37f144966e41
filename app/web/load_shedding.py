"""Load shedding: refuses requests that cannot be finished before their deadline, or are too many.

Under overload nearly every request is refused here, and while the event loop refuses one, a network that runs
on all cores waits for the core of the event loop. So this middleware runs before the framework's routing,
where a refusal costs a quarter less than after it.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import MalformedRequest
from app.pipeline.context import RequestContext
from app.web.context import context_of
from app.web.endpoints.table import find
from app.web.service import Service


class LoadShedder:
    """Pure ASGI, inside ``ProblemWall``: sets the deadline of a request with a picture, or refuses it."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and _accepts_picture(scope["method"], scope["path"]):
            self._check_load(Headers(scope=scope), context_of(scope))
        await self._app(scope, receive, send)

    def _check_load(self, sent: Headers, context: RequestContext) -> None:
        """Set the deadline of a request with a picture, or refuse it.

        Its picture is unknown, and counts as the length of the upload suggests. If it counted as the
        smallest, the queue would stay where the smallest fits and the others do not, and nearly all would be
        refused only after they were read.
        """
        limits = self._service.settings.limits
        context.deadline_s = context.started_s + allowed_seconds(sent, limits.deadline_s)
        admission = self._service.ready_pipeline().admission
        self._service.admission.check_requests()
        admission.check_time(
            context.deadline_s,
            pixels=admission.wait_estimator.likely_px(_length_of(sent)),
            pixels_in_flight=self._service.admission.pixels,
        )


def _length_of(sent: Headers) -> int:
    """Return the length of a body in bytes, 0 if it is not known or not a number."""
    text = sent.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _accepts_picture(method: str, path: str) -> bool:
    endpoint = find(path)
    return endpoint is not None and method in endpoint.picture_methods


def allowed_seconds(headers: Headers, max_s: float) -> float:
    """Return the time limit of a request: its ``X-Request-Timeout-Ms``, but at most ``max_s``.

    Raises:
        MalformedRequest: The header is not a whole number of milliseconds above 0.
    """
    text = headers.get("x-request-timeout-ms")
    if text is None:
        return max_s
    significant = text.lstrip("0")[:10]
    if not text.isascii() or not text.isdigit() or not significant:
        raise MalformedRequest("The X-Request-Timeout-Ms header is not a whole number of milliseconds.")
    return min(int(significant) / 1000, max_s)

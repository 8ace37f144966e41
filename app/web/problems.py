"""Problems: the only place where errors become responses (RFC 9457, ``application/problem+json``).

Rule 1: every leaf of the tree in ``app/errors.py`` has its row in ``PROBLEMS``; a test walks both.
Rule 2: a response never contains a stack trace, a path, a library's message or the client's input.
Rule 3: this is the only place that catches everything.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors
from app.pipeline.context import RequestContext
from app.web.context import context_of
from app.web.endpoints.table import Dialect, dialect_of

Renderers = Mapping[Dialect, "Callable[[Exception, JSONResponse, Headers], Response]"]
"""How a dialect formats an error, given its problem response."""
MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger("cutout.web")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One row of the table; ``slug`` names the problem type and the outcome in metrics."""

    status: int
    slug: str
    title: str


PROBLEMS: dict[type[errors.CutoutError], ProblemKind] = {
    errors.MalformedRequest: ProblemKind(400, "malformed-request", "The request cannot be read"),
    errors.UnknownOption: ProblemKind(400, "unknown-option", "There is no such option"),
    errors.InvalidOption: ProblemKind(422, "invalid-option", "An option is out of its range"),
    errors.ParameterRefused: ProblemKind(400, "parameter-refused", "A parameter is not accepted"),
    errors.RegionOutsidePicture: ProblemKind(422, "region-outside", "The region is not in the picture"),
    errors.RegionIsEmpty: ProblemKind(422, "region-empty", "The region is empty"),
    errors.Unauthorized: ProblemKind(401, "unauthorized", "An API key is required"),
    errors.QuotaExceeded: ProblemKind(429, "quota-exceeded", "The quota of this key is used up"),
    errors.UploadTooLarge: ProblemKind(413, "upload-too-large", "The upload has too many bytes"),
    errors.UploadTooSlow: ProblemKind(408, "upload-too-slow", "The upload took too long"),
    errors.UnsupportedFormat: ProblemKind(415, "unsupported-format", "This is not an accepted image"),
    errors.PictureTooLarge: ProblemKind(422, "picture-too-large", "The picture has too many pixels"),
    errors.ModelTooLarge: ProblemKind(422, "model-too-large", "The model needs too much memory"),
    errors.RequestTooLarge: ProblemKind(422, "request-too-large", "The request needs too much memory"),
    errors.CanvasTooLarge: ProblemKind(422, "canvas-too-large", "The result has too many pixels"),
    errors.FormatExceeded: ProblemKind(422, "format-exceeded", "The format cannot hold the result"),
    errors.PictureTooComplex: ProblemKind(422, "picture-too-complex", "The picture is too costly to decode"),
    errors.CorruptPicture: ProblemKind(422, "corrupt-picture", "The picture is damaged"),
    errors.NoForeground: ProblemKind(422, "no-foreground", "The picture has no subject"),
    errors.MaskDoesNotFit: ProblemKind(422, "mask-does-not-fit", "The mask does not fit the picture"),
    errors.UrlNotAllowed: ProblemKind(422, "url-not-allowed", "The picture URL is not allowed"),
    errors.FetchingDisabled: ProblemKind(422, "fetching-disabled", "Fetching pictures by URL is disabled"),
    errors.PictureNotFetched: ProblemKind(422, "picture-not-fetched", "The picture URL returned no picture"),
    errors.CorruptArchive: ProblemKind(422, "corrupt-archive", "The ZIP cannot be read"),
    errors.EntryRefused: ProblemKind(422, "entry-refused", "The file of the batch is refused"),
    errors.TooManyPictures: ProblemKind(422, "too-many-pictures", "The batch has too many pictures"),
    errors.ResultsUnread: ProblemKind(408, "results-unread", "The results are not read"),
    errors.IdempotencyKeyReused: ProblemKind(
        422, "idempotency-key-reused", "The idempotency key belongs to another request"
    ),
    errors.RequestInProgress: ProblemKind(409, "request-in-progress", "The request is already in progress"),
    errors.Overloaded: ProblemKind(503, "overloaded", "The server is at its limit"),
    errors.NotReady: ProblemKind(503, "not-ready", "The server is not ready"),
    errors.DeadlineExceeded: ProblemKind(504, "deadline-exceeded", "The deadline passed"),
    errors.SourceTimedOut: ProblemKind(504, "source-timed-out", "The picture's host took too long"),
    errors.ModelUnavailable: ProblemKind(503, "model-unavailable", "The model cannot be served"),
    errors.ProviderUnavailable: ProblemKind(503, "provider-unavailable", "The device cannot be used"),
    errors.InferenceFailed: ProblemKind(500, "inference-failed", "The network failed"),
}
NOT_FOUND = ProblemKind(404, "not-found", "There is no such path")
METHOD_NOT_ALLOWED = ProblemKind(405, "method-not-allowed", "This method is not allowed")
HEAD_TOO_SLOW = ProblemKind(408, "headers-too-slow", "The headers took too long")
HEAD_TOO_LARGE = ProblemKind(431, "headers-too-large", "The headers have too many bytes")
HTTP_VERSION = ProblemKind(505, "http-version", "This HTTP version is not supported")
TOO_MANY_CONNECTIONS = ProblemKind(429, "too-many-connections", "This address has too many connections")
INTERNAL = ProblemKind(500, "internal-error", "Internal error")
MALFORMED = PROBLEMS[errors.MalformedRequest]
KINDS = (
    *PROBLEMS.values(),
    *(NOT_FOUND, METHOD_NOT_ALLOWED, HEAD_TOO_SLOW, HEAD_TOO_LARGE, TOO_MANY_CONNECTIONS, INTERNAL),
    HTTP_VERSION,
)


def problem(
    kind: ProblemKind,
    detail: str,
    *,
    request_id: str,
    facts: dict[str, object] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Build the response for one problem; ``facts`` become extension members."""
    body = _body(kind, detail, request_id=request_id, facts=facts)
    return JSONResponse(body, kind.status, headers=headers, media_type=MEDIA_TYPE)


def _body(
    kind: ProblemKind, detail: str, *, request_id: str, facts: dict[str, object] | None = None
) -> dict[str, object]:
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": f"urn:request:{request_id}",
        **(facts or {}),
    }


def problem_body(error: errors.CutoutError, request_id: str) -> dict[str, object]:
    """Build the document for an error of our own tree, without a response around it."""
    return _body(_kind_of(error), _detail_of(error), request_id=request_id, facts=error.facts())


def problem_of(error: errors.CutoutError, request_id: str) -> JSONResponse:
    """Build the response for an error of our own tree."""
    kind = _kind_of(error)
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(kind, _detail_of(error), request_id=request_id, facts=error.facts(), headers=headers)


def _kind_of(error: errors.CutoutError) -> ProblemKind:
    return next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)


def _detail_of(error: errors.CutoutError) -> str:
    if _kind_of(error).status == 500:
        return "The request could not be finished. This is a bug; the log has it under the request id."
    return str(error)


def on_framework_error(request: Request, error: Exception) -> JSONResponse:
    """Build the response for requests that the router refuses: no such path, no such method."""
    context = context_of(request.scope)
    if not isinstance(error, HTTPException):  # pragma: no cover - registered for HTTPException alone
        raise error
    kind = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}.get(error.status_code, INTERNAL)
    context.outcome = kind.slug
    headers = dict(error.headers or {})
    if "Allow" in headers:
        allowed = set(headers["Allow"].split(", "))
        headers["Allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
    detail = f"{kind.title}. The endpoints are listed at /openapi.json."
    return problem(kind, detail, request_id=context.request_id, headers=headers)


class ClientDisconnected(Exception):
    """The client closed the connection and waits for no response."""


class ProblemWall:
    """Pure ASGI: turns every error of a request into a problem, or into an error of its dialect."""

    def __init__(self, app: ASGIApp, *, renderers: Renderers) -> None:
        self._app = app
        self._renderers = renderers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)

        async def note_begin(message: Message) -> None:
            context.has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note_begin)
            return
        except ClientDisconnected as disconnected:
            context.outcome = "client-disconnected"
            _forget_frames(disconnected)
            return
        except Exception as raised:  # noqa: BLE001 - rule 3
            error = _lack_of_memory(raised, context) if isinstance(raised, MemoryError) else raised
            problem_response = _response_to(error, context)
            response: Response = problem_response
            render = self._renderers.get(dialect_of(scope["path"]))
            if render is not None:
                response = render(error, problem_response, Headers(scope=scope))
            _forget_frames(raised)
        if not context.has_begun:
            await response(scope, receive, send)


async def result_or_problem(
    work: Awaitable[T], context: RequestContext
) -> tuple[T, None] | tuple[None, dict[str, object]]:
    """Return the result of one item of a request, or the document of its problem.

    The context of the item gets the outcome, and unexpected errors are logged, as for a request of its own.
    """
    try:
        return await work, None
    except Exception as raised:  # noqa: BLE001 - rule 3
        error = _lack_of_memory(raised, context) if isinstance(raised, MemoryError) else raised
        response = _response_to(error, context)
        _forget_frames(raised)
        return None, cast("dict[str, object]", json.loads(bytes(response.body)))


def _lack_of_memory(raised: MemoryError, context: RequestContext) -> errors.Overloaded:
    log.warning("out of memory", request_id=context.request_id)
    overloaded = errors.Overloaded("memory")
    overloaded.__cause__ = raised
    return overloaded


def _response_to(error: Exception, context: RequestContext) -> JSONResponse:
    """Build the response for any error, and log what the operator must know."""
    if not isinstance(error, errors.CutoutError):
        log.error("request broke", request_id=context.request_id, exc_info=error)
        context.outcome = INTERNAL.slug
        detail = "Something broke on our side. This is a bug; the log has it under the request id."
        return problem(INTERNAL, detail, request_id=context.request_id)
    response = problem_of(error, context.request_id)
    context.outcome = response_slug(error)
    reason = getattr(error, "reason", None)
    if response.status_code == 500 or isinstance(error, errors.ModelUnavailable):
        log.error("request failed", request_id=context.request_id, reason=reason, exc_info=error)
    elif reason is not None:
        context.log_fields = {"reason": reason}
    return response


def _forget_frames(error: BaseException | None) -> None:
    """Release the frames of an error's traceback, which hold the upload.

    An error and its frames refer to each other, so a refused upload would stay in memory until the next
    garbage collection of that generation.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def response_slug(error: errors.CutoutError) -> str:
    """Return the slug of an error, in its response and in metrics."""
    return _kind_of(error).slug


def describe_problem(slug: str) -> PlainTextResponse:
    """Return the page of a problem's ``type``.

    Raises:
        HTTPException: There is no such problem.
    """
    kind = next((kind for kind in KINDS if kind.slug == slug), None)
    if kind is None:
        raise HTTPException(404)
    return PlainTextResponse(f"{kind.slug}\n\nHTTP status {kind.status}: {kind.title}.\n")

"""Handler: runs one request end to end, for any API dialect.

    admit → receive → parse → run → respond

A dialect is a parser, which makes a ``MaskRequest`` or a ``CutoutRequest`` of a body and a query, and a
renderer, which makes a response of the result. All else is the same for every dialect, and is here.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from app.pipeline.context import RequestContext, time_limit
from app.pipeline.values import ImageRequest, NotModified, Result
from app.web.context import context_of
from app.web.disconnect import cancel_on_disconnect
from app.web.request.forms import FORMS, kind_of, read_query
from app.web.request.receive import read_body
from app.web.service import service_of

PARSED_INLINE_BYTES = 4096
Query = Sequence[tuple[str, str]]
Parsed = TypeVar("Parsed")
ParsedImage = TypeVar("ParsedImage", bound=ImageRequest)
Parser = Callable[[str, bytes, Query], Parsed]
"""Parses the content type, the body and the query of a request."""


async def serve(request: Request, parser: Parser[ParsedImage]) -> tuple[ParsedImage, Result | NotModified]:
    """Return the parsed request and its result; the permit is released before the response is written.

    Raises:
        CutoutError: A step fails.
        ClientDisconnected: The client closed the connection.
    """
    async with admit(request) as context:
        parsed = await receive(request, context, parser)
        async with cancel_on_disconnect(request):
            result = await service_of(request).run(parsed, context)
    return parsed, result


@asynccontextmanager
async def admit(request: Request) -> AsyncIterator[RequestContext]:
    """Hold a permit for the block, and end the block at the request's deadline.

    Raises:
        NotReady: The models are not loaded yet.
        Overloaded: The maximum number of requests is in flight.
        DeadlineExceeded: The deadline has passed.
    """
    service = service_of(request)
    service.ready_pipeline()
    context = context_of(request.scope)
    with service.admission.enter() as permit:
        context.permit = permit
        async with time_limit(context, service.clock):
            yield context


async def receive(
    request: Request, context: RequestContext, parser: Parser[Parsed], *, may_be_picture: bool = True
) -> Parsed:
    """Read the body of an admitted request, and parse it.

    A large form is parsed on a thread. Its parts are copies, so as many bytes are held again until the body
    is released.

    Args:
        request: The request.
        context: Its context.
        parser: Parses it.
        may_be_picture: Whether a body that is no form is the picture itself, which takes no parsing.
    """
    limits = service_of(request).settings.limits
    with context.steps.step("receive"):
        body = await read_body(
            request, context.permit, limit_bytes=limits.upload_bytes, timeout_s=limits.upload_timeout_s
        )
        context.upload_bytes = len(body)
        content_type = request.headers.get("content-type", "")
        query = read_query(request.scope["query_string"])
        is_small = len(body) <= PARSED_INLINE_BYTES
        if is_small or (may_be_picture and kind_of(content_type, body)[0] not in FORMS):
            return parser(content_type, body, query)
        threads = service_of(request).ready_pipeline().pools.inspect
        with context.permit.holding_bytes(len(body)):
            return await threads.run_holding(context.permit, parser, content_type, body, query)

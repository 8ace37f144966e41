"""Dialects: serves the endpoints of remove.bg, rembg and withoutBG."""

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.pipeline.values import Result
from app.web.context import context_of
from app.web.endpoints import open_inference, rembg, removebg, removebg_responses, table, withoutbg
from app.web.endpoints.table import Dialect
from app.web.endpoints.v1_responses import wants_json
from app.web.handler import ParsedImage, Parser, admit, receive, serve
from app.web.problems import Renderers
from app.web.service import service_of
from app.web.sliced_response import SlicedResponse

router = APIRouter()
RENDERERS: Renderers = {
    Dialect.REMOVEBG: removebg_responses.render_error,
    Dialect.WITHOUTBG: withoutbg.render_error,
    Dialect.REMBG: rembg.render_error,
    Dialect.OPEN_INFERENCE: open_inference.render_error,
}


@table.REMOVEBG.on(router, include_in_schema=False)
async def remove_background(request: Request) -> Response:
    """Serve remove.bg's ``/v1.0/removebg``."""
    models = service_of(request).settings.model_for
    parser = partial(removebg.parse_request, model_for=lambda kind: getattr(models, kind, None))
    call, result = await _serve(request, parser)
    return removebg_responses.response_of(
        call,
        result,
        wants_json=wants_json(request.headers.get("accept", "*/*")),
        quota=context_of(request.scope).quota,
    )


@table.REMOVEBG_ACCOUNT.on(router, include_in_schema=False)
async def account() -> JSONResponse:
    """Serve remove.bg's ``/v1.0/account``."""
    return removebg_responses.account()


@table.REMOVEBG_IMPROVE.on(router, include_in_schema=False)
async def improve(request: Request) -> JSONResponse:
    """Serve remove.bg's ``/v1.0/improve``: accept a picture with a bad result, and store nothing."""
    async with admit(request) as context:
        name = await receive(request, context, removebg.parse_improvement, may_be_picture=False)
    return JSONResponse({"id": name})


@table.REMBG.on(router, include_in_schema=False)
async def remove(request: Request) -> Response:
    """Serve rembg's ``/api/remove``."""
    has_model = service_of(request).ready_pipeline().models.has
    _, result = await _serve(request, partial(rembg.parse_request, has_model=has_model))
    return SlicedResponse(result.encoded, media_type=result.media_type)


@table.WITHOUTBG.on(router, include_in_schema=False)
async def alpha_channel(request: Request) -> Response:
    """Return the alpha matte as a file, like withoutBG."""
    _, result = await _serve(request, withoutbg.parse_request)
    return SlicedResponse(result.encoded, media_type=result.media_type)


@table.WITHOUTBG_BASE64.on(router, include_in_schema=False)
async def alpha_channel_base64(request: Request) -> Response:
    """Return the alpha matte in JSON, like withoutBG."""
    _, result = await _serve(request, withoutbg.parse_request)
    return withoutbg.alpha_in_json(result)


async def _serve(request: Request, parser: Parser[ParsedImage]) -> tuple[ParsedImage, Result]:
    """Serve a request of a dialect without conditional requests."""
    parsed, result = await serve(request, parser)
    assert isinstance(result, Result)  # noqa: S101 - the context has no entity tags
    return parsed, result

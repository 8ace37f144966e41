"""Routes of the dialects: remove.bg's ``/v1.0``, rembg's ``/api/remove`` and withoutBG's two."""

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
    """Respond as remove.bg does."""
    call, result = await _serve(request, removebg.parse_request)
    return removebg_responses.response_of(
        call,
        result,
        wants_json=wants_json(request.headers.get("accept", "*/*")),
        quota=context_of(request.scope).quota,
    )


@table.REMOVEBG_ACCOUNT.on(router, include_in_schema=False)
async def account() -> JSONResponse:
    """Describe an account as remove.bg does."""
    return removebg_responses.account()


@table.REMOVEBG_IMPROVE.on(router, include_in_schema=False)
async def improve(request: Request) -> JSONResponse:
    """Accept a picture whose result was bad, and keep nothing of it."""
    async with admit(request) as context:
        name = await receive(request, context, removebg.parse_improvement, may_be_picture=False)
    return JSONResponse({"id": name})


@table.REMBG.on(router, include_in_schema=False)
async def remove(request: Request) -> Response:
    """Respond as rembg's server does."""
    _, result = await _serve(request, rembg.parse_request)
    return SlicedResponse(result.encoded, media_type=result.media_type)


@table.WITHOUTBG.on(router, include_in_schema=False)
async def alpha_channel(request: Request) -> Response:
    """Respond with the alpha matte, as withoutBG does."""
    _, result = await _serve(request, withoutbg.parse_request)
    return SlicedResponse(result.encoded, media_type=result.media_type)


@table.WITHOUTBG_BASE64.on(router, include_in_schema=False)
async def alpha_channel_base64(request: Request) -> Response:
    """Respond with the alpha matte in JSON, as withoutBG does."""
    _, result = await _serve(request, withoutbg.parse_request)
    return withoutbg.alpha_in_json(result)


async def _serve(request: Request, parser: Parser[ParsedImage]) -> tuple[ParsedImage, Result]:
    """Serve a request of a dialect that knows no conditional requests."""
    parsed, result = await serve(request, parser)
    assert isinstance(result, Result)  # noqa: S101 - the context has no entity tags
    return parsed, result

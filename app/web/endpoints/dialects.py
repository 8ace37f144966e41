"""Routes of the dialects: remove.bg's ``/v1.0``, rembg's ``/api/remove`` and withoutBG's two."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.engine.deadline import Deadline
from app.pipeline.run import Job
from app.web.context import context_of
from app.web.endpoints import open_inference, rembg, removebg, removebg_responses, table, withoutbg
from app.web.endpoints.removebg import Call
from app.web.endpoints.table import Dialect
from app.web.endpoints.v1 import wants_json
from app.web.handler import Query, Wanted, carry
from app.web.problems import Renderers
from app.web.request.receive import read_body
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
    """Answer as remove.bg would."""
    calls: list[Call] = []

    def parse_request(content_type: str, body: bytes, query: Query) -> Wanted:
        calls.append(removebg.parse_request(content_type, body, query))
        return calls[0].wanted

    result = await carry(request, parse_request)
    return removebg_responses.response_of(
        calls[0],
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
    """Take a picture that went wrong, and keep nothing of it."""
    service = service_of(request)
    pipeline = service.ready_pipeline()
    context, limits = context_of(request.scope), service.settings.limits
    content_type = request.headers.get("content-type", "")
    with service.admission.enter() as permit:
        job = Job(permit, context.steps, context.deadline_s, context.quota)
        async with Deadline(context.deadline_s - service.clock.now_s()):
            body = await read_body(
                request, permit, limit_bytes=limits.upload_bytes, timeout_s=limits.upload_timeout_s
            )
            with permit.holding_bytes(len(body)):
                name = await pipeline.aside(job, removebg.understand_improvement, content_type, body)
    return JSONResponse({"id": name})


@table.REMBG.on(router, include_in_schema=False)
async def remove(request: Request) -> Response:
    """Answer as rembg's server would."""
    result = await carry(request, rembg.parse_request)
    return SlicedResponse(result.encoded, media_type=result.media_type)


@table.WITHOUTBG.on(router, include_in_schema=False)
async def alpha_channel(request: Request) -> Response:
    """Answer the alpha matte as withoutBG would."""
    result = await carry(request, withoutbg.parse_request)
    return SlicedResponse(result.encoded, media_type=result.media_type)


@table.WITHOUTBG_BASE64.on(router, include_in_schema=False)
async def alpha_channel_base64(request: Request) -> Response:
    """Answer the alpha matte in JSON as withoutBG would."""
    return withoutbg.alpha_in_json(await carry(request, withoutbg.parse_request))

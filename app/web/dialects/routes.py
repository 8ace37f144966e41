"""Routes of the dialects: remove.bg's ``/v1.0``, rembg's ``/api/remove`` and withoutBG's two."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.engine.deadline import Deadline
from app.pipeline import Job
from app.web import endpoints, oip
from app.web.carry import Query, Wanted, carry
from app.web.dialects import rembg, removebg, removebg_answers, withoutbg
from app.web.dialects.removebg import Call
from app.web.endpoints import Dialect
from app.web.journal import journal_of
from app.web.pieces import PiecewiseResponse
from app.web.problems import Renderers
from app.web.receive import read_body
from app.web.routes import wants_json
from app.web.service import service_of

router = APIRouter()
RENDERERS: Renderers = {
    Dialect.REMOVEBG: removebg_answers.render_error,
    Dialect.WITHOUTBG: withoutbg.render_error,
    Dialect.REMBG: rembg.render_error,
    Dialect.OPEN_INFERENCE: oip.render_error,
}


@endpoints.REMOVEBG.on(router, include_in_schema=False)
async def remove_background(request: Request) -> Response:
    """Answer as remove.bg would."""
    calls: list[Call] = []

    def understand(content_type: str, body: bytes, query: Query) -> Wanted:
        calls.append(removebg.understand(content_type, body, query))
        return calls[0].wanted

    answer = await carry(request, understand)
    return removebg_answers.answer_of(
        calls[0],
        answer,
        wants_json=wants_json(request.headers.get("accept", "*/*")),
        allowance=journal_of(request.scope).allowance,
    )


@endpoints.REMOVEBG_ACCOUNT.on(router, include_in_schema=False)
async def account() -> JSONResponse:
    """Describe an account as remove.bg does."""
    return removebg_answers.account()


@endpoints.REMOVEBG_IMPROVE.on(router, include_in_schema=False)
async def improve(request: Request) -> JSONResponse:
    """Take a picture that went wrong, and keep nothing of it."""
    service = service_of(request)
    pipeline = service.ready_pipeline()
    journal, limits = journal_of(request.scope), service.settings.limits
    content_type = request.headers.get("content-type", "")
    with service.admission.enter() as permit:
        job = Job(permit, journal.steps, journal.deadline_s, journal.allowance)
        async with Deadline(journal.deadline_s - service.clock.now_s()):
            body = await read_body(
                request, permit, limit_bytes=limits.upload_bytes, timeout_s=limits.upload_timeout_s
            )
            with permit.holding_bytes(len(body)):
                name = await pipeline.aside(job, removebg.understand_improvement, content_type, body)
    return JSONResponse({"id": name})


@endpoints.REMBG.on(router, include_in_schema=False)
async def remove(request: Request) -> Response:
    """Answer as rembg's server would."""
    answer = await carry(request, rembg.understand)
    return PiecewiseResponse(answer.encoded, media_type=answer.media_type)


@endpoints.WITHOUTBG.on(router, include_in_schema=False)
async def alpha_channel(request: Request) -> Response:
    """Answer the alpha matte as withoutBG would."""
    answer = await carry(request, withoutbg.understand)
    return PiecewiseResponse(answer.encoded, media_type=answer.media_type)


@endpoints.WITHOUTBG_BASE64.on(router, include_in_schema=False)
async def alpha_channel_base64(request: Request) -> Response:
    """Answer the alpha matte in JSON as withoutBG would."""
    return withoutbg.alpha_in_json(await carry(request, withoutbg.understand))

"""Health: serves the three probes of orchestrators, the OpenAPI document and the pages of problems."""

from dataclasses import asdict

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.errors import NotReady
from app.web.endpoints import table
from app.web.endpoints.openapi import describe_json
from app.web.endpoints.schemas import Alive, Ready, Started
from app.web.problems import describe_problem
from app.web.service import Service, service_of

router = APIRouter()


@table.LIVE.on(router, openapi_extra=describe_json(Alive, "The process is alive.", 503))
async def livez(request: Request) -> JSONResponse:
    """Report that the process is alive and its executor does not hang; if this fails, restart it."""
    check_alive(service_of(request))
    return JSONResponse({"status": "alive"})


def check_alive(service: Service) -> None:
    """Check that the executor does not hang.

    Raises:
        NotReady: The executor seems to hang.
    """
    if service.pipeline is not None and service.pipeline.is_overdue():
        raise NotReady("The executor seems to hang; if it stays so, this process had better be replaced.")


@table.STARTED.on(router, openapi_extra=describe_json(Started, "Models are warm.", 503))
async def startupz(request: Request) -> JSONResponse:
    """Report that models are loaded and warm; until then the other probes should wait."""
    service_of(request).ready_pipeline()
    return JSONResponse({"status": "started"})


@table.READY.on(router, openapi_extra=describe_json(Ready, "The server accepts requests.", 503))
async def readyz(request: Request) -> JSONResponse:
    """Report that the server accepts requests, and the execution providers and precisions of its models."""
    service = service_of(request)
    if service.drain.has_begun:
        raise NotReady("The server is stopping.")
    pipeline = service.ready_pipeline()
    models, sessions = pipeline.models, pipeline.models.in_memory()
    return JSONResponse(
        {
            "status": "ready",
            "device_requested": service.settings.device,
            "provider": models.provider,
            "why_not_cuda": pipeline.why_not_cuda,
            "models": {session.manifest.name: session.provider for session in sessions},
            "precisions": {session.manifest.name: asdict(session.choice) for session in sessions},
            "unavailable": sorted(models.broken),
        }
    )


@table.CONTRACT.on(router, include_in_schema=False)
async def contract(request: Request) -> Response:
    """Return the OpenAPI document, which is built once."""
    state = request.app.state
    if not hasattr(state, "contract"):
        document = await run_in_threadpool(request.app.openapi)
        state.contract = JSONResponse(document).body
    return Response(state.contract, media_type="application/json")


@table.PROBLEM_PAGE.on(router, include_in_schema=False)
async def problem_page(slug: str) -> PlainTextResponse:
    """Describe a problem type: the page that the ``type`` of an error refers to."""
    return describe_problem(slug)

"""V1: serves the endpoints of ``/v1``."""

import re
from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.engine.models.manifest import sha256_of
from app.engine.models.registry import Session
from app.options import CutoutOptions, MaskOptions
from app.pipeline.run import Pipeline
from app.web.context import context_of
from app.web.endpoints import table
from app.web.endpoints.openapi import SECURITY, describe_endpoint, describe_json
from app.web.endpoints.schemas import ModelList
from app.web.endpoints.v1_parser import parse_cutout_request, parse_mask_request
from app.web.endpoints.v1_responses import respond, wants_json
from app.web.handler import serve
from app.web.service import service_of

router = APIRouter()


@table.MASK.on(router, response_class=Response, openapi_extra=describe_endpoint(MaskOptions, "saliency mask"))
async def mask(request: Request) -> Response:
    """Return the saliency mask of a picture.

    By default it is the map as the authors of U²-Net publish it: stretched from its minimum to
    its maximum, resized bilinearly to the upright picture, 8-bit grey. For a picture without a
    subject the mask is black and the verdict `no_foreground`.
    """
    read_conditions(request)
    _, result = await serve(request, parse_mask_request)
    return respond(request, result)


@table.CUTOUT.on(router, response_class=Response, openapi_extra=describe_endpoint(CutoutOptions, "cutout"))
async def cutout(request: Request) -> Response:
    """Return the picture's subject with straight alpha, at the upright picture's size.

    Colours along the edge are free of the old background; where alpha is 0, the colours are 0.
    """
    read_conditions(request)
    _, result = await serve(request, parse_cutout_request)
    return respond(request, result)


@table.MODELS.on(
    router,
    openapi_extra={"security": SECURITY, **describe_json(ModelList, "The models of this server.", 401, 503)},
)
async def list_models(request: Request) -> JSONResponse:
    """List the models in memory, the default first, with their licences and quality figures.

    `on_request` are models that are loaded by the first request for them.
    """
    pipeline = service_of(request).ready_pipeline()
    models = pipeline.models
    return JSONResponse(
        {
            "default": models.default,
            "models": [_describe_model(session, pipeline) for session in models.in_memory()],
            "on_request": models.loadable(),
            "unavailable": sorted(models.broken),
        }
    )


def read_conditions(request: Request) -> None:
    """Read the headers that may avoid processing: ``If-None-Match`` and ``Idempotency-Key``."""
    context = context_of(request.scope)
    as_json = wants_json(request.headers.get("accept", "*/*"))
    tags = re.findall(r'(?<!W/)"([0-9a-f]{32})(-json)?"', request.headers.get("if-none-match", ""))
    context.known_etags = frozenset(tag for tag, suffix in tags if bool(suffix) is as_json)
    context.idempotency_key = request.headers.get("idempotency-key")


def _describe_model(session: Session, pipeline: Pipeline) -> dict[str, object]:
    manifest, choice = session.manifest, session.choice
    run_s = pipeline.run_s(manifest.name)
    return {
        "name": manifest.name,
        "architecture": manifest.architecture,
        "provider": session.provider,
        "input_size_px": manifest.input_size_px,
        "output": manifest.output,
        "precision": choice.precision,
        "precision_choice": asdict(choice),
        "parameters": manifest.parameters,
        "run_ms": {str(size): round(1e3 * seconds, 1) for size, seconds in run_s.items()},
        "memory_bytes": pipeline.models.memory.measured.get(manifest.name, 0),
        "sha256": sha256_of(manifest, choice.precision),
        "license": manifest.weights.license,
        "authors": manifest.weights.authors,
        "source": manifest.weights.source,
        "commercial": manifest.weights.commercial,
        "commercial_basis": manifest.weights.basis,
        "purpose": manifest.purpose,
        "max_batch": manifest.max_batch,
        "file_precision": manifest.precision,
        "quality": manifest.quality,
    }

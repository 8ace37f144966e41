"""Routes: ``/v1``, from request to answer."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.engine.models.manifest import Manifest
from app.errors import InvalidOption, UnknownOption
from app.imaging.formats.encode import FORMATS
from app.options import MASK_AND_CUTOUT, CutoutOptions, MaskOptions, parse_options
from app.pipeline.prepare import NotModified
from app.pipeline.render import HQ_CUT_SHORT, Result
from app.spelling import format_of
from app.web.context import context_of
from app.web.endpoints import table
from app.web.endpoints.openapi import SECURITY, describe_endpoint, describe_json
from app.web.endpoints.schemas import ModelList
from app.web.handler import PictureSource, Query, Wanted, carry
from app.web.request.envelope import BACKDROP_FIELD, MASK_FIELD, open_envelope
from app.web.service import service_of
from app.web.sliced_response import Base64, SlicedResponse, json_response

router = APIRouter()
JSON_TAG = "-json"


@table.MASK.on(router, response_class=Response, openapi_extra=describe_endpoint(MaskOptions, "saliency mask"))
async def mask(request: Request) -> Response:
    """Return the saliency mask of a picture.

    By default it is the map as the authors of U²-Net publish it: stretched from its minimum to
    its maximum, bilinear at the upright picture's size, 8-bit grey. A picture without a subject
    gives an all-black mask and the verdict `no_foreground`.
    """
    return await _answer(request, MaskOptions)


@table.CUTOUT.on(router, response_class=Response, openapi_extra=describe_endpoint(CutoutOptions, "cutout"))
async def cutout(request: Request) -> Response:
    """Return the picture's subject with straight alpha, at the upright picture's size.

    Colours along the edge are free of the old background; where alpha is 0, so are the colours.
    """
    return await _answer(request, CutoutOptions)


@table.MODELS.on(
    router,
    openapi_extra={"security": SECURITY, **describe_json(ModelList, "The models of this server.", 401, 503)},
)
async def list_models(request: Request) -> JSONResponse:
    """List the models in memory, the default first, with their licences and quality figures.

    `on_request` are models that are loaded when a request asks for one.
    """
    models = service_of(request).ready_pipeline().models
    return JSONResponse(
        {
            "default": models.default,
            "models": [_describe_model(manifest, provider) for manifest, provider in models.manifests()],
            "on_request": models.loadable(),
            "unavailable": sorted(models.broken),
        }
    )


def _understand(
    kind: type[MaskOptions | CutoutOptions], content_type: str, body: bytes, query: Query
) -> Wanted:
    """Understand a request to ``/v1``."""
    envelope = open_envelope(content_type, body, query)
    given = envelope.options if envelope.backdrop is None else _under_backdrop(envelope.options)
    options = parse_options(kind, given, typed=envelope.typed)
    picture = PictureSource(envelope.upload, envelope.image_url)
    beside = {BACKDROP_FIELD: envelope.backdrop, MASK_FIELD: envelope.mask}
    if isinstance(options, MaskOptions):
        for name, sent in beside.items():
            if sent is not None:
                raise UnknownOption(name, tuple(MaskOptions.model_fields))
    elif envelope.mask is not None and options.region is not None:
        raise InvalidOption("region", "none, with a mask of your own")
    elif envelope.mask is not None and options.results == MASK_AND_CUTOUT:
        raise InvalidOption("results", "cutout, with a mask of your own")
    elif envelope.backdrop is not None and options.format == "zip":
        raise InvalidOption("format", "any but zip, with a background: a ZIP holds the cutout's alpha")
    backdrop = None if envelope.backdrop is None else PictureSource(envelope.backdrop)
    return Wanted(picture, options, backdrop, envelope.mask)


def _under_backdrop(given: Mapping[str, object]) -> Mapping[str, object]:
    """Return options that come with a backdrop: it fills a JPEG, which needs no colour then."""
    is_jpeg = format_of(str(given.get("format", ""))) == "jpeg"
    is_unfilled = given.get("background", "transparent") == "transparent"
    return {**given, "background": "white"} if is_jpeg and is_unfilled else given


async def _answer(request: Request, kind: type[MaskOptions | CutoutOptions]) -> Response:
    as_json = wants_json(request.headers.get("accept", "*/*"))
    known = _known_tags(request.headers.get("if-none-match", ""), as_json=as_json)
    try:
        result = await carry(
            request, partial(_understand, kind), known=known, name=request.headers.get("idempotency-key")
        )
    except NotModified as found:
        tag = f'"{found.etag}{JSON_TAG if as_json else ""}"'
        return Response(status_code=304, headers={"ETag": tag, "Vary": "Accept"})
    return _response(request, result)


def _known_tags(header: str, *, as_json: bool) -> frozenset[str]:
    """Return the strong tags of an ``If-None-Match`` that are of the kind of answer that is asked for."""
    tags = re.findall(r'(?<!W/)"([0-9a-f]{32})(-json)?"', header)
    return frozenset(tag for tag, suffix in tags if bool(suffix) is as_json)


def _response(request: Request, result: Result) -> Response:
    headers = {
        "Content-Disposition": f'inline; filename="{_file_name(request, result)}"',
        "X-Cutout-Model": result.info.model,
        "X-Cutout-Provider": result.info.provider,
        "X-Cutout-Matting": f"{result.info.matting};dur={_matting_ms(request):.1f}",
        "X-Cutout-Refine": result.info.refine,
        "X-Cutout-Verdict": result.info.verdict.label,
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    if result.info.subject is not None:
        box = result.info.subject
        headers["X-Cutout-Subject"] = f"{box.left}, {box.top}, {box.right}, {box.bottom}"
    if result.is_remembered:
        headers["X-Cutout-Cache"] = "hit"
    if result.info.warnings:
        headers["X-Cutout-Warnings"] = ", ".join(result.info.warnings)
    # What time cut short may come out otherwise next time: a strong tag would promise the same bytes.
    weak = "W/" if HQ_CUT_SHORT in result.info.warnings else ""
    if wants_json(request.headers.get("accept", "*/*")):
        headers["ETag"] = f'{weak}"{result.info.etag}{JSON_TAG}"'
        return json_response(_as_json(request, result), headers=headers)
    headers["ETag"] = f'{weak}"{result.info.etag}"'
    if result.mask is not None:
        return _both(result, result.mask, headers)
    return SlicedResponse(result.encoded, media_type=result.media_type, headers=headers)


def _both(result: Result, mask: bytes, headers: dict[str, str]) -> Response:
    """Answer the cutout and the mask as a form, which a browser reads with ``response.formData()``."""
    boundary = f"cutout-{result.info.etag}"
    parts = (("cutout", result.encoded, result.media_type), ("mask", mask, FORMATS["png"]))
    contents: list[bytes] = []
    for name, encoded, media_type in parts:
        file_name = f"{name}.{media_type.rpartition('/')[2]}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
        contents += [f"{head}Content-Type: {media_type}\r\n\r\n".encode(), encoded, b"\r\n"]
    contents.append(f"--{boundary}--\r\n".encode())
    headers["Content-Disposition"] = "inline"
    media_type = f"multipart/form-data; boundary={boundary}"
    return SlicedResponse(*contents, media_type=media_type, headers=headers)


def _file_name(request: Request, result: Result) -> str:
    """Name what a browser saves, by the endpoint and the format; nothing of it is the caller's."""
    return f"{request.scope['path'].rpartition('/')[2]}.{result.media_type.rpartition('/')[2]}"


def _matting_ms(request: Request) -> float:
    return context_of(request.scope).steps.seconds.get("matte", 0.0) * 1e3


def wants_json(accept: str) -> bool:
    """Tell whether a client accepts JSON and no picture; one that takes either gets the picture."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    takes_pictures = any(k in ("*/*", "application/zip") or k.startswith("image/") for k in kinds)
    return "application/json" in kinds and not takes_pictures


def _as_json(request: Request, result: Result) -> dict[str, object]:
    steps = context_of(request.scope).steps.seconds
    mask = {} if result.mask is None else {"mask": Base64(result.mask)}
    return {
        **mask,
        "image": Base64(result.encoded),
        "media_type": result.media_type,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "model": result.info.model,
        "provider": result.info.provider,
        "matting": result.info.matting,
        "refine": result.info.refine,
        "matting_ms": round(_matting_ms(request), 1),
        "verdict": {"label": result.info.verdict.label, **asdict(result.info.verdict)},
        "warnings": list(result.info.warnings),
        "steps_ms": {name: round(seconds * 1e3, 2) for name, seconds in steps.items()},
    }


def _describe_model(manifest: Manifest, provider: str) -> dict[str, object]:
    return {
        "name": manifest.name,
        "architecture": manifest.architecture,
        "provider": provider,
        "input_size_px": manifest.input_size_px,
        "output": manifest.output,
        "precision": manifest.precision,
        "parameters": manifest.parameters,
        "sha256": manifest.sha256,
        "license": manifest.weights.license,
        "authors": manifest.weights.authors,
        "source": manifest.weights.source,
        "quality": manifest.quality,
    }

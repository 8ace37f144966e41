"""V1 responses: renders a result as an image, JSON or a form, with the headers that describe it."""

from collections.abc import Mapping
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from app.imaging.formats.encode import FORMATS
from app.imaging.matting.verdict import Verdict
from app.pipeline.values import NotModified, Result
from app.web.context import context_of
from app.web.sliced_response import Base64, SlicedResponse, json_response

JSON_TAG = "-json"
"""Ends the entity tag of a JSON response."""


def wants_json(accept: str) -> bool:
    """Return whether a client accepts JSON and no image; a client that accepts both gets the image."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    takes_pictures = any(k in ("*/*", "application/zip") or k.startswith("image/") for k in kinds)
    return "application/json" in kinds and not takes_pictures


def respond(request: Request, result: Result | NotModified) -> Response:
    """Return the response with a result, in the representation that the client accepts."""
    as_json = wants_json(request.headers.get("accept", "*/*"))
    if isinstance(result, NotModified):
        tag = f'"{result.etag}{JSON_TAG if as_json else ""}"'
        return Response(status_code=304, headers={"ETag": tag, "Vary": "Accept"})
    headers = _headers(request, result)
    # If a step ran out of time, the next try may differ; a strong tag would promise the same bytes.
    weak = "W/" if result.info.is_cut_short else ""
    if as_json:
        headers["ETag"] = f'{weak}"{result.info.etag}{JSON_TAG}"'
        return json_response(_as_json(request, result), headers=headers)
    headers["ETag"] = f'{weak}"{result.info.etag}"'
    if result.mask is not None:
        return _both(result, result.mask, headers)
    return SlicedResponse(result.encoded, media_type=result.media_type, headers=headers)


def _headers(request: Request, result: Result) -> dict[str, str]:
    headers = {
        "Content-Disposition": f'inline; filename="{_file_name(request, result)}"',
        "X-Cutout-Model": result.info.model,
        "X-Cutout-Provider": result.info.provider,
        "X-Cutout-Precision": result.info.precision,
        "X-Cutout-Matting": f"{result.info.matting};dur={_matting_ms(request):.1f}",
        "X-Cutout-Refine": result.info.refine,
        "X-Cutout-Verdict": result.info.verdict.label,
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    if result.info.subject is not None:
        box = result.info.subject
        headers["X-Cutout-Subject"] = f"{box.left}, {box.top}, {box.right}, {box.bottom}"
    if result.is_cached:
        headers["X-Cutout-Cache"] = "hit"
    if result.info.warnings:
        headers["X-Cutout-Warnings"] = ", ".join(result.info.warnings)
    return headers


def _both(result: Result, mask: bytes, headers: dict[str, str]) -> Response:
    """Return the cutout and the mask as a form, which a browser reads with ``response.formData()``."""
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
    """Return the name under which a browser saves the image; no part of it comes from the caller."""
    return f"{request.scope['path'].rpartition('/')[2]}.{result.media_type.rpartition('/')[2]}"


def _matting_ms(request: Request) -> float:
    return context_of(request.scope).steps.seconds.get("matte", 0.0) * 1e3


def _as_json(request: Request, result: Result) -> dict[str, object]:
    mask = {} if result.mask is None else {"mask": Base64(result.mask)}
    steps_s = context_of(request.scope).steps.seconds
    return {**mask, "image": Base64(result.encoded), **describe_result(result, steps_s)}


def _verdict(verdict: Verdict) -> dict[str, object]:
    figures = asdict(verdict)
    del figures["uncertain_from"]  # a property of the network
    return {"label": verdict.label, **figures}


def describe_result(result: Result, steps_s: Mapping[str, float]) -> dict[str, object]:
    """Return the properties of a result for JSON, without its pictures.

    Args:
        result: The result.
        steps_s: The duration of each step, in seconds.
    """
    return {
        "media_type": result.media_type,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "model": result.info.model,
        "provider": result.info.provider,
        "precision": result.info.precision,
        "matting": result.info.matting,
        "refine": result.info.refine,
        "matting_ms": round(steps_s.get("matte", 0.0) * 1e3, 1),
        "verdict": _verdict(result.info.verdict),
        "warnings": list(result.info.warnings),
        "steps_ms": {name: round(seconds * 1e3, 2) for name, seconds in steps_s.items()},
    }

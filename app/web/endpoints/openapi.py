"""OpenAPI: describes the endpoints, from the options and the table of problems."""

import copy
from typing import Any

from pydantic import BaseModel

from app.imaging.formats.encode import FORMATS
from app.imaging.formats.sniff import ACCEPTED
from app.web.endpoints.schemas import PictureResult, Problem, all_schemas, in_json, reference_to
from app.web.endpoints.table import CUTOUT, MASK
from app.web.problems import KINDS, MEDIA_TYPE
from app.web.request.envelope import IMAGE_FIELDS, URL_FIELD
from app.web.request.fetch import MAX_URL_CHARACTERS
from app.web.service import IDEMPOTENCY_KEY_PATTERN

SECURITY: list[dict[str, list[str]]] = [{"ApiKey": []}, {"Bearer": []}, {}]
BASE64 = "^(data:[^,]*;base64,)?([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
BINARY = {"type": "string", "format": "binary"}
ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4XmM8AQAAzADKZjB/qwAAAABJRU5ErkJggg=="
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your own key for this request, so that it is safe to send again: while the key is kept, "
    "a repeated request gets the same result and is not processed twice.",
    "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN},
}
RESULT_HEADERS = {
    "X-Request-Id": "Yours if you sent one, else a new one.",
    "Server-Timing": "The duration of each step in milliseconds.",
    "X-Cutout-Model": "The model that ran.",
    "X-Cutout-Provider": "The execution provider that ran it.",
    "X-Cutout-Precision": "The precision of its graph: `float32`, `int8`, `fp16`, or `none` if none ran.",
    "X-Cutout-Matting": "The matting path that ran, and its milliseconds: `fast;dur=34.1`.",
    "X-Cutout-Refine": "`crop` if the network ran twice, else `none`.",
    "X-Cutout-Verdict": "`ok`, `uncertain` or `no_foreground`.",
    "X-Cutout-Subject": "The subject's left, top, right and bottom, if `report_box` is true.",
    "X-Cutout-Warnings": "Codes of unusual properties of the picture or the result.",
    "X-Cutout-Cache": "`hit` if the result is from the cache.",
    "ETag": "Strong tag over picture, options, model and precision.",
}
RESULT = {
    "image": ONE_PIXEL,
    "media_type": "image/png",
    "width_px": 451,
    "height_px": 300,
    "model": "u2net",
    "provider": "CUDAExecutionProvider",
    "precision": "fp16",
    "matting": "fast",
    "refine": "none",
    "matting_ms": 34.1,
    "verdict": {
        "label": "ok",
        "coverage": 0.31,
        "uncertainty": 0.02,
        "box": [12, 8, 440, 300],
        "touches_border": True,
        "is_empty": False,
    },
    "warnings": [],
    "steps_ms": {"decode": 3.1, "infer": 9.8, "encode": 2.2},
}
EXTRA_PICTURES = {
    "mask": "Your own mask or trimap, with which no network runs. With strokes, the alpha so far.",
    "keep": "A picture that is bright (128 or more) where a person painted what belongs to the subject.",
    "remove": "Likewise, where a person painted what does not belong to it.",
}
MAX_QUERY_TEXT = 4096
"""Characters of one option in a query: percent-encoded, they are at most three quarters of a head."""
ENVELOPE_STATUSES = (400, 401, 408, 409, 413, 415, 422, 429, 431, 500, 503, 504)


def describe_json(model: type[BaseModel], description: str, *statuses: int) -> dict[str, Any]:
    """Return the OpenAPI operation members of an endpoint that returns a model or problems."""
    return {"responses": {"200": in_json(model, description), **problems(*statuses)}}


def describe_endpoint(options: type[BaseModel], result: str) -> dict[str, Any]:
    """Return the OpenAPI operation members of a picture endpoint."""
    properties = options.model_json_schema()["properties"]
    formats = properties["format"]["enum"]
    return {
        "parameters": [query_parameter(name, schema) for name, schema in properties.items()] + [IDEMPOTENCY],
        "security": SECURITY,
        "requestBody": {"required": True, "content": _request_content(properties)},
        "responses": {
            "200": _result_response(result, formats),
            **problems(*ENVELOPE_STATUSES),
        },
    }


def query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return an option as a parameter of the query, which is part of the head and so cannot be long."""
    described = copy.deepcopy(_without(schema, "description", "title"))
    for each in (described, *described.get("anyOf", ())):
        if each.get("maxLength", 0) > MAX_QUERY_TEXT:
            each["maxLength"] = MAX_QUERY_TEXT
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": schema.get("description", ""),
        "schema": described,
    }


def completed(document: dict[str, Any], *, fetches: bool) -> dict[str, Any]:
    """Add schemas, authentication, HEAD and, if pictures are fetched, ``image_url`` to the document."""
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **all_schemas()}
    components["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }
    document["servers"] = [{"url": "./"}]  # relative to the document, under any path of a proxy
    for operations in document["paths"].values():
        if "get" in operations:
            operations["head"] = _as_head(operations["get"])
    for endpoint in (MASK, CUTOUT) if fetches else ():
        content = document["paths"][endpoint.path]["post"]["requestBody"]["content"]
        for media_type in ("multipart/form-data", "application/json"):
            _add_url(content[media_type]["schema"])
    return document


def _as_head(get: dict[str, Any]) -> dict[str, Any]:
    """Describe the same request without a body in its responses."""
    responses = {
        status: _without(response, "content") for status, response in get.get("responses", {}).items()
    }
    return {**get, "operationId": f"{get['operationId']}_head", "responses": responses}


def _add_url(schema: dict[str, Any]) -> None:
    schema["properties"][URL_FIELD] = {
        "type": "string",
        "format": "uri",
        "maxLength": MAX_URL_CHARACTERS,
        "description": "A public http or https URL of the picture, in place of the picture itself.",
    }
    schema.pop("required", None)
    schema["oneOf"] = [{"required": ["image"]}, {"required": [URL_FIELD]}]


def _request_content(properties: dict[str, Any]) -> dict[str, Any]:
    names = ", ".join(IMAGE_FIELDS[1:])
    multipart = {
        "schema": {
            "type": "object",
            "required": ["image"],
            "additionalProperties": False,
            "properties": {
                "image": {**BINARY, "description": f"The picture; also accepted as {names}."},
                **_extra_pictures(BINARY),
                **copy.deepcopy(properties),
            },
        }
    }
    json_body = {
        "schema": {
            "type": "object",
            "required": ["image"],
            "additionalProperties": False,
            "properties": {
                "image": {
                    "type": "string",
                    "pattern": BASE64,
                    "description": f"The picture as base64 text or as a data URL; also accepted as {names}.",
                },
                **_extra_pictures({"type": "string", "pattern": BASE64}),
                **copy.deepcopy(properties),
            },
        },
        "example": {"image": f"data:image/png;base64,{ONE_PIXEL}", "format": "png"},
    }
    raw = {media_type: {"schema": BINARY} for media_type in ACCEPTED}
    return {**raw, "multipart/form-data": multipart, "application/json": json_body}


def _extra_pictures(kind: dict[str, Any]) -> dict[str, Any]:
    return {name: {**kind, "description": text} for name, text in EXTRA_PICTURES.items()}


def _result_response(result: str, formats: list[str]) -> dict[str, Any]:
    return {
        "description": f"The {result}.",
        "headers": {
            name: {"schema": {"type": "string"}, "description": description}
            for name, description in RESULT_HEADERS.items()
        },
        "content": {
            **{FORMATS[name]: {"schema": BINARY} for name in formats if name in FORMATS},
            **_two_results(result),
            "application/json": {"schema": reference_to(PictureResult), "example": RESULT},
        },
    }


def _two_results(result: str) -> dict[str, Any]:
    if result != "cutout":
        return {}
    schema = {"type": "object", "properties": {"cutout": BINARY, "mask": BINARY}}
    return {"multipart/form-data": {"schema": schema}}


def problems(*statuses: int) -> dict[str, Any]:
    """Return the OpenAPI responses of the problems with some statuses."""
    responses: dict[str, Any] = {}
    for status in statuses:
        kinds = [kind for kind in KINDS if kind.status == status]
        examples = {
            kind.slug: {
                "value": {
                    "type": f"/problems/{kind.slug}",
                    "title": kind.title,
                    "status": status,
                    "detail": kind.title + ".",
                    "instance": "urn:request:0a1b2c",
                }
            }
            for kind in kinds
        }
        responses[str(status)] = {
            "description": "; ".join(kind.title for kind in kinds) + ".",
            "content": {MEDIA_TYPE: {"schema": reference_to(Problem), "examples": examples}},
        }
    return responses


def _without(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in names}

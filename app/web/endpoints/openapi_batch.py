"""OpenAPI of batches: describes ``/v1/batch``, from the options and the table of problems."""

import copy
from typing import Any

from app.options import CutoutOptions, MaskOptions
from app.web.batch.form import ITEMS_FIELD, MASK_RESULT, OPTIONS_FIELD, RESULTS, SKIP_FIELD
from app.web.batch.renderers import NDJSON_TYPE, ZIP_TYPE
from app.web.batch.upload import ZIP_FIELD
from app.web.endpoints.openapi import (
    BINARY,
    ENVELOPE_STATUSES,
    IDEMPOTENCY,
    SECURITY,
    problems,
    query_parameter,
)
from app.web.endpoints.schemas import BatchLine, reference_to

ITEMS = {
    "type": "object",
    "additionalProperties": {"type": "object"},
    "description": "Options of single pictures, by the name of the picture; they override those of all.",
}
SKIP = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Names of pictures whose results you already have; they are not processed again.",
}


def batch_options() -> dict[str, Any]:
    """Return the schemas of the options of a batch: those of cutouts and masks."""
    masks, cutouts = (kind.model_json_schema()["properties"] for kind in (MaskOptions, CutoutOptions))
    properties = copy.deepcopy({**masks, **cutouts})
    properties[RESULTS]["enum"] = [*properties[RESULTS]["enum"], MASK_RESULT]
    properties[RESULTS]["description"] += " `mask` returns masks instead, with the options of `/v1/mask`."
    return properties


def describe_batch() -> dict[str, Any]:
    """Return the OpenAPI operation members of the endpoint for batches."""
    options = batch_options()
    return {
        "parameters": [query_parameter(name, schema) for name, schema in options.items()]
        + [_json_parameter(ITEMS_FIELD, ITEMS), _json_parameter(SKIP_FIELD, SKIP), IDEMPOTENCY],
        "security": SECURITY,
        "requestBody": {
            "required": True,
            "content": {
                ZIP_TYPE: {"schema": {**BINARY, "description": "A ZIP of pictures."}},
                "multipart/form-data": {"schema": _form(options)},
            },
        },
        "responses": {
            "200": {
                "description": "The results in the order in which they were ready: a ZIP with `report.json` "
                "as its last entry, or a line of JSON for each picture and one for the batch.",
                "content": {
                    ZIP_TYPE: {"schema": BINARY},
                    NDJSON_TYPE: {"schema": reference_to(BatchLine)},
                },
            },
            **problems(*ENVELOPE_STATUSES),
        },
    }


def _json_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"{schema['description']} As JSON.",
        "content": {"application/json": {"schema": schema}},
    }


def _form(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "Fields first, then the pictures.",
        "additionalProperties": False,
        "anyOf": [{"required": ["image"]}, {"required": [ZIP_FIELD]}],
        "properties": {
            **copy.deepcopy(options),
            OPTIONS_FIELD: {
                "type": "object",
                "properties": copy.deepcopy(options),
                "additionalProperties": False,
                "description": "Options of all pictures, in one JSON object.",
            },
            ITEMS_FIELD: ITEMS,
            SKIP_FIELD: SKIP,
            "image": {
                "type": "array",
                "minItems": 1,
                "items": BINARY,
                "description": "Pictures, each with a file name.",
            },
            ZIP_FIELD: {**BINARY, "description": "A ZIP of pictures, in place of `image`."},
        },
    }

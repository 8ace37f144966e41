"""Schemas: defines the JSON responses of the API for the OpenAPI document.

Responses are not built from these models, because that would make each of them slower; tests compare the two.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema


class Problem(BaseModel):
    """A failure (RFC 9457). Some types have further members, such as a limit that was exceeded."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        description="`/problems/` and the slug of the problem; a page with that path describes it."
    )
    title: str
    status: int
    detail: str = Field(description="What went wrong, in a sentence.")
    instance: str = Field(description="`urn:request:` and the request id.")


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Verdict(_Described):
    """The verdict on a result."""

    label: Literal["ok", "uncertain", "no_foreground"]
    coverage: float = Field(description="Part of the picture that belongs to the subject, 0 to 1.")
    uncertainty: float = Field(description="0 if each pixel is clearly subject or background, 1 if none is.")
    box: tuple[int, int, int, int] | None = Field(
        description="Left, top, right and bottom of the subject, in pixels; right and bottom exclusive."
    )
    touches_border: bool
    is_empty: bool


class PictureResult(_Described):
    """A mask or a cutout in JSON."""

    image: str = Field(description="The picture, in base64.")
    mask: str | None = Field(None, description="The mask as PNG in base64, if `results` is `mask,cutout`.")
    media_type: str
    width_px: int
    height_px: int
    model: str
    provider: str
    precision: str
    matting: str
    refine: str
    matting_ms: float
    verdict: Verdict
    warnings: list[str]
    steps_ms: dict[str, float]


class BatchTotals(_Described):
    """The end of a batch."""

    succeeded: int
    failed: int
    skipped: int
    ignored: int = Field(description="Folders, and files that an operating system adds to archives.")
    unused_names: list[str] = Field(description="Names in `items` for which no picture came.")
    problem: Problem | None = Field(description="Why the batch ended early.")


class BatchLine(BaseModel):
    """A line of a batch: one picture, or at the end the batch as a whole.

    A picture that succeeded also has the members of `PictureResult`.
    """

    model_config = ConfigDict(extra="allow")

    name: str | None = Field(None, description="The name of the picture.")
    status: int | None = Field(None, description="As of a request of its own; 304 if it was skipped.")
    result: str | None = Field(None, description="The name of its result in a ZIP.")
    mask_result: str | None = Field(None, description="The name of its mask in a ZIP, if there are both.")
    problem: Problem | None = Field(None, description="Why it failed.")
    batch: BatchTotals | None = Field(None, description="The batch as a whole; only in the last line.")


class PrecisionDescription(_Described):
    """The precision that a model is served in, and why."""

    precision: str
    requested: str
    reason: str
    speed_ratio: float | None = Field(
        description="How many times as fast as float32 the graph in another precision ran; null if none ran."
    )
    difference: float | None = Field(
        description="The mean absolute difference of its maps from those in float32, likewise."
    )


class ModelDescription(_Described):
    """A model in memory."""

    name: str
    architecture: str
    provider: str
    input_size_px: int
    output: str
    precision: str
    precision_choice: PrecisionDescription
    parameters: int
    run_ms: dict[str, float] = Field(
        description="Milliseconds of one run on this machine, by the number of pictures in it."
    )
    memory_bytes: int = Field(description="What the model takes with its runs, measured when it was loaded.")
    sha256: str = Field(description="Of the graph in this precision.")
    license: str
    authors: str
    source: str
    commercial: str = Field(
        description="Whether the weights may be used commercially, as far as is publicly known: `yes`, "
        "`contested`, `no`, `unclear`; empty if that was not looked up."
    )
    commercial_basis: str = Field(description="The public place that this rests on, or empty.")
    purpose: str = Field(description="What the network is for, as a phrase, or empty.")
    max_batch: int | None = Field(
        description="The most pictures that it can run together; null has no limit of its own."
    )
    file_precision: str = Field(description="The precision of the weights in the model's first file.")
    quality: dict[str, float]


class ModelList(_Described):
    """The models of a server."""

    default: str
    models: list[ModelDescription]
    on_request: list[str] = Field(description="Models that are loaded by the first request for them.")
    unavailable: list[str]


class Alive(_Described):
    """The process is alive."""

    status: Literal["alive"]


class Started(_Described):
    """Models are loaded and warm."""

    status: Literal["started"]


class Ready(_Described):
    """The server accepts requests."""

    status: Literal["ready"]
    device_requested: str
    provider: str
    why_not_cuda: str | None
    models: dict[str, str] = Field(description="The execution provider of each model in memory.")
    precisions: dict[str, PrecisionDescription] = Field(description="The precision of each of them.")
    unavailable: list[str]


MODELS: tuple[type[BaseModel], ...] = (Problem, PictureResult, BatchLine, ModelList, Alive, Started, Ready)


def reference_to(model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to the schema of a model."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def in_json(model: type[BaseModel], description: str) -> dict[str, Any]:
    """Return the OpenAPI response with a model as JSON."""
    return {"description": description, "content": {"application/json": {"schema": reference_to(model)}}}


def all_schemas() -> dict[str, Any]:
    """Return the schemas of all models, by name."""
    kinds: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (each, "serialization") for each in MODELS
    ]
    return dict(models_json_schema(kinds, ref_template="#/components/schemas/{model}")[1]["$defs"])

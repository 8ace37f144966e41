"""remove.bg: parses requests to version 1.0 of its API.

Every documented parameter is accepted; ``docs/removebg.md`` lists those that have no effect. Errors have its
format: ``{"errors": [{"title": …, "code": …}]}``, with 400 for an invalid request and 403 for an invalid key.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.errors import MalformedRequest, ParameterRefused
from app.imaging.layout.css_colours import parse_colour
from app.imaging.layout.placement import parse_margins, parse_position, parse_region, parse_scale
from app.options import CutoutOptions
from app.options_parser import parse_options
from app.pipeline.values import CutoutRequest, PictureSource
from app.setting_groups import MODEL_PATTERN
from app.spelling import format_of, truth_of
from app.web.handler import Query
from app.web.request.base64_text import decode_base64
from app.web.request.forms import Part, read_form, text_of
from app.web.request.picture_part import picture_of

MEGAPIXELS: Mapping[str, float] = {
    **dict.fromkeys(("preview", "small", "regular"), 0.25),
    "medium": 1.5,
    "hd": 4,
    **dict.fromkeys(("full", "4k", "auto"), 25),
    "50MP": 50,
}
PNG_MEGAPIXELS = 10.0
FORMATS = ("auto", "png", "jpeg", "webp", "zip")
TYPES = ("auto", "person", "product", "car", "animal", "graphic", "transportation", "other")
TYPE_LEVELS = ("none", "1", "2", "latest")
SHADOWS = ("none", "auto", "car", "3D", "drop")
SOURCES = ("image_file", "image_file_b64", "image_url")
BACKGROUNDS = ("bg_color", "bg_image_url", "bg_image_file")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of remove.bg: its default, its parser, and the error code of an invalid value."""

    default: str
    parse: Callable[[str], object]
    code: str = ""
    is_honoured: bool = True


def _one_of(choices: Mapping[str, object] | tuple[str, ...]) -> Callable[[str], object]:
    def read(text: str) -> object:
        if text not in choices:
            raise ValueError("not one of them")
        return choices[text] if isinstance(choices, Mapping) else text

    return read


def _truth(text: str) -> bool:
    truth = truth_of(text)
    if truth is None:
        raise ValueError("neither yes nor no")
    return truth


def _format(text: str) -> str:
    chosen = format_of(text)
    if chosen not in FORMATS:
        raise ValueError("not one of them")
    return chosen


def _model(text: str) -> str:
    if re.fullmatch(MODEL_PATTERN, text) is None:
        raise ValueError("not the name of a model")
    return text


def _opacity(text: str) -> float:
    if text == "auto":
        return 50.0
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError("not a percentage")
    return value


def _checked(parse: Callable[[str], object]) -> Callable[[str], object]:
    def read(text: str) -> str:
        parse(text)
        return text

    return read


PARAMETERS: Mapping[str, Parameter] = {
    "size": Parameter("preview", _one_of(MEGAPIXELS), "invalid_size"),
    "type": Parameter("auto", _one_of(TYPES), "invalid_type"),
    "type_level": Parameter("1", _one_of(TYPE_LEVELS), "invalid_type_level", is_honoured=False),
    "format": Parameter("auto", _format, "invalid_format"),
    "roi": Parameter("", _checked(parse_region), "invalid_roi"),
    "crop": Parameter("false", _truth, "invalid_crop"),
    "crop_margin": Parameter("0", _checked(parse_margins), "invalid_crop_margin"),
    "scale": Parameter("original", _checked(parse_scale), "invalid_scale"),
    "position": Parameter("original", _checked(parse_position), "invalid_position"),
    "channels": Parameter("rgba", _one_of(("rgba", "alpha")), "invalid_channels"),
    "add_shadow": Parameter("false", _truth, "invalid_add_shadow", is_honoured=False),
    "shadow_type": Parameter("none", _one_of(SHADOWS), "invalid_shadow_type"),
    "shadow_opacity": Parameter("50", _opacity, "invalid_shadow_opacity"),
    "semitransparency": Parameter("true", _truth, "invalid_semitransparency", is_honoured=False),
    "bg_color": Parameter("", _checked(parse_colour), "invalid_bg_color"),
    "model": Parameter("", _model, "invalid_model"),
}


@dataclass(frozen=True, slots=True)
class RemovebgRequest(CutoutRequest):
    """A request to ``/v1.0/removebg``; ``declared_type`` is the type of subject that the caller declares."""

    declared_type: str = "auto"
    type_level: str = "1"


def parse_request(
    content_type: str, body: bytes, query: Query, *, model_for: Callable[[str], str | None] = lambda _: None
) -> RemovebgRequest:
    """Parse a request to ``/v1.0/removebg``; ``model_for`` has the operator's model for a type, if any.

    Raises:
        ParameterRefused: A parameter has a value that remove.bg does not accept either.
        MalformedRequest: The body cannot be parsed.
    """
    form = read_form(content_type, body)
    parts = [*(Part(name, value) for name, value in query), *form.parts]
    given = {part.name: text_of(part) or "" for part in parts if part.name in PARAMETERS}
    values = {name: _value(name, given.get(name, "")) for name in PARAMETERS}
    picture = _source(parts, form.blank)
    backdrop = _backdrop(parts)
    chosen = str(values["format"])
    colour = values["bg_color"]
    if chosen == "jpeg" and colour is None:
        colour = "white"
    has_no_background = colour is None and backdrop is None
    maximum = float(str(values["size"]))
    if chosen == "png" or (chosen == "auto" and has_no_background):
        maximum = min(maximum, PNG_MEGAPIXELS)
    options: dict[str, object] = {
        "model": values["model"] or model_for(str(values["type"])),
        "format": "png" if values["channels"] == "alpha" and chosen == "auto" else chosen,
        "background": "transparent" if colour is None or chosen == "zip" else str(colour),
        "region": None if values["roi"] is None else str(values["roi"]),
        "crop": bool(values["crop"]),
        "margin": str(values["crop_margin"]),
        "scale": str(values["scale"]),
        "position": str(values["position"]),
        "channels": "alpha" if values["channels"] == "alpha" and chosen != "zip" else "auto",
        "shadow": "drop" if values["shadow_type"] == "drop" else "none",
        "shadow_opacity": float(str(values["shadow_opacity"])),
        "megapixels": maximum,
        "require_foreground": True,
        "report_box": True,
    }
    return RemovebgRequest(
        picture,
        parse_options(CutoutOptions, options),
        backdrop=None if chosen == "zip" else backdrop,
        declared_type=str(values["type"]),
        type_level=str(values["type_level"]),
    )


def _value(name: str, text: str) -> object:
    parameter = PARAMETERS[name]
    text = text or parameter.default
    if text == "":
        return None
    try:
        return parameter.parse(text)
    except (ValueError, KeyError) as error:
        raise ParameterRefused(parameter.code, f"Invalid value for {name}") from error


def _source(parts: list[Part], blank: frozenset[str]) -> PictureSource:
    """Return the one picture of a request."""
    sent = [part for part in parts if part.name in SOURCES]
    given = [part for part in sent if part.value != b""]
    if not given:
        detail = "Please provide the source image in the image_url, image_file or image_file_b64 parameter."
        if sent or not blank.isdisjoint(SOURCES):
            detail += " The one that was sent is empty."
        raise ParameterRefused("missing_source", "No image given", detail)
    if len(given) > 1:
        names = ", ".join(sorted({part.name for part in given}))
        raise ParameterRefused("multiple_sources", f"Multiple image sources given: {names}")
    return _picture(given[0], "failed_to_read_image", "Failed to read image")


def _backdrop(parts: list[Part]) -> PictureSource | None:
    given = [part for part in parts if part.name in BACKGROUNDS and part.value != b""]
    if len({part.name for part in given}) > 1:
        raise ParameterRefused("multiple_bg_sources", "Multiple background sources given")
    pictures = [part for part in given if part.name != "bg_color"]
    return _picture(pictures[0], "failed_bg_download", "Failed to read background") if pictures else None


def _picture(part: Part, code: str, title: str) -> PictureSource:
    value = part.value
    if part.name.endswith("_url"):
        return PictureSource(url=text_of(part))
    try:
        if isinstance(value, bytes) and part.name.endswith("_b64"):
            return PictureSource(decode_base64(value))
        return PictureSource(picture_of(part))
    except MalformedRequest as error:
        raise ParameterRefused(code, title) from error


def parse_improvement(content_type: str, body: bytes, query: Query) -> str:  # noqa: ARG001 - as all
    """Parse a request to ``/v1.0/improve``, and return an id for it; the picture is not kept.

    Raises:
        ParameterRefused: The request has no picture.
    """
    form = read_form(content_type, body)
    _source(form.parts, form.blank)
    return str(uuid.uuid4())

"""Options: what a caller may choose, one field an option.

The same models parse query, form and JSON fields, check the command line, and describe the
parameters in the OpenAPI document. To add an option, add a field here and read it in the step
it concerns.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from app.errors import InvalidOption, UnknownOption
from app.imaging.layout.css_colours import parse_colour
from app.imaging.layout.placement import (
    Corners,
    Layout,
    parse_margins,
    parse_position,
    parse_region,
    parse_scale,
)
from app.spelling import format_of, truth_of

PictureFormat = Literal["png", "webp", "jpeg", "avif"]


CutoutFormat = Literal["png", "webp", "jpeg", "avif", "zip", "auto"]
MASK_AND_CUTOUT = "mask,cutout"
_NO_COLOUR = frozenset({"transparent", "blur"})


def _background(text: str) -> object:
    return text if text in _NO_COLOUR else parse_colour(text)


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Check a text by reading it; it stays a text, as it came."""

    def check(text: str | None) -> str | None:
        if text is not None:
            parse(text)
        return text

    return AfterValidator(check)


def _truth(value: object) -> object:
    """Accept every spelling of yes and no as a text too, and the numbers 1 and 0."""
    if isinstance(value, bool):
        return value
    truth = truth_of(str(value)) if isinstance(value, str | int) else None
    return "neither" if truth is None else truth


def _format(value: object) -> object:
    """Accept a format's other names."""
    return format_of(value) if isinstance(value, str) else value


Truth = Annotated[bool, BeforeValidator(_truth)]


def _results(value: object) -> object:
    """Accept the two results in either order."""
    return MASK_AND_CUTOUT if value == "cutout,mask" else value


class _Options(BaseModel):
    """What both endpoints know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(
        None, max_length=64, description="Name of a model in service; the default model if absent."
    )
    format: Annotated[CutoutFormat, BeforeValidator(_format)] = Field(
        "png", description="File format of the answer."
    )
    quality: int = Field(
        90, ge=1, le=100, description="Quality of WebP (100 is lossless), AVIF and JPEG, also in a ZIP."
    )

    clean: float = Field(
        0,
        ge=0,
        le=0.1,
        description="Removes specks and fills holes that are smaller than this part of the picture, such as "
        "0.001; 0 leaves them.",
    )
    refine: Literal["none", "crop"] = Field(
        "none",
        description="`crop` lets the network look again at the subject alone, where that is less than 70 % "
        "of the picture, and takes over its edges.",
    )
    require_foreground: Truth = Field(
        default=False,
        description="Refuses a picture without a subject (422) instead of answering an empty one.",
    )


class MaskOptions(_Options):
    """Choices of ``/v1/mask``."""

    format: Annotated[PictureFormat, BeforeValidator(_format)] = Field(
        "png", description="File format of the answer; `jpg`, capitals and media types mean the same."
    )
    matting: Literal["none", "fast", "hq"] = Field(
        "none",
        description="`none` gives the saliency map as published; `fast` refines its soft band; `hq` solves "
        "it by the picture's colours.",
    )
    size: Literal["source", "network"] = Field(
        "source", description="Size of the mask: the upright picture's, or the network's own."
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Makes a yes/no mask: 255 where the map is at least this, else 0."
    )

    @model_validator(mode="after")
    def _refine_at_source_size(self) -> Self:
        if self.refine != "none" and self.size == "network":
            raise _Clash("size", f"source, when refine={self.refine}")
        if self.matting != "none" and self.size == "network":
            raise _Clash("size", f"source, when matting={self.matting}")
        return self


class CutoutOptions(_Options):
    """Choices of ``/v1/cutout``."""

    format: Annotated[CutoutFormat, BeforeValidator(_format)] = Field(
        "png",
        description="File format of the answer, also as `jpg`, in capitals or as a media type; `zip` holds "
        "`color.jpg` and `alpha.png`, `auto` is PNG where something shines through or a JPEG cannot hold the "
        "result, and JPEG elsewhere.",
    )
    matting: Literal["fast", "hq", "none"] = Field(
        "fast",
        description="`fast` refines alpha with a guided filter and frees edge colours of the background; "
        "`hq` solves alpha by the picture's colours, in seconds; `none` uses the saliency map as alpha.",
    )
    results: Annotated[Literal["cutout", "mask,cutout"], BeforeValidator(_results)] = Field(
        "cutout",
        description="`mask,cutout` answers the saliency mask as well, a PNG like that of `/v1/mask`: a "
        "`multipart/form-data` of the two, or in JSON the member `mask`.",
    )
    background: Annotated[str, _checked(_background)] = Field(
        "transparent",
        description="`transparent`, `blur` (the picture itself, out of focus), a CSS colour name, or a hex "
        "colour like `#fff`, `#ff8800` or `#ff880080`. A multipart file `background` takes its place.",
    )
    region: Annotated[str | None, _checked(parse_region)] = Field(
        None,
        description="The part of the picture to look at, as two corners in pixels or per cent: "
        "`10% 0% 90% 480px`. All around it counts as background.",
    )
    crop: Truth = Field(default=False, description="Cuts the answer down to the subject and `margin`.")
    margin: Annotated[str, _checked(parse_margins)] = Field(
        "0",
        description="Margin of a crop: one length, two (top and bottom, left and right) or four (from the "
        "top, clockwise), in pixels up to 500 or in per cent of the subject up to 50.",
    )
    scale: Annotated[str, _checked(parse_scale)] = Field(
        "original",
        description="Scales the subject to this part of the picture, `10%` to `100%`, and centres it.",
    )
    position: Annotated[str, _checked(parse_position)] = Field(
        "original",
        description="Moves the subject: `center`, or one or two percentages of the free space, across and "
        "down.",
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Makes alpha yes or no: opaque where it is at least this."
    )
    shadow: Literal["none", "drop"] = Field(
        "none", description="`drop` puts a soft shadow beneath the subject."
    )
    shadow_opacity: float = Field(50, ge=0, le=100, description="How dark the shadow is, in per cent.")
    channels: Literal["auto", "rgba", "alpha"] = Field(
        "auto",
        description="`auto` leaves alpha out where nothing shines through, `rgba` keeps it where the format "
        "can, `alpha` answers the alpha matte alone, 8-bit grey. A see-through backdrop stays so with "
        "`rgba`, and is laid over white otherwise.",
    )
    locates: Truth = Field(
        default=False,
        description="Answers with `X-Cutout-Subject`: left, top, right and bottom of the subject.",
    )
    megapixels: float | None = Field(
        None,
        ge=0.0001,
        le=1000,
        description="Shrinks a larger picture to this many megapixels before anything else.",
    )

    @model_validator(mode="after")
    def _jpeg_has_no_alpha(self) -> Self:
        if self.format == "jpeg" and self.background == "transparent" and self.channels != "alpha":
            raise _Clash("background", "a colour, when format=jpeg: JPEG has no transparency")
        return self

    @model_validator(mode="after")
    def _zip_holds_alpha(self) -> Self:
        if self.format == "zip" and (self.background != "transparent" or self.channels == "alpha"):
            raise _Clash("background", "transparent, when format=zip: it holds the cutout's alpha")
        return self

    @model_validator(mode="after")
    def _blur_stays_where_it_is(self) -> Self:
        if self.background == "blur" and (self.layout.moves or self.region is not None):
            raise _Clash(
                "background", "no blur, with a region or when the subject is cropped, scaled or moved"
            )
        return self

    @model_validator(mode="after")
    def _mask_is_of_the_whole(self) -> Self:
        if self.results == MASK_AND_CUTOUT and (self.region is not None or self.megapixels is not None):
            raise _Clash("results", "cutout, with a region or megapixels: the mask is of the whole picture")
        return self

    @property
    def background_rgba(self) -> tuple[int, int, int, int] | None:
        """The background colour as sRGB and alpha in 0..255, ``None`` where there is none."""
        return None if self.background in _NO_COLOUR else parse_colour(self.background)

    @property
    def layout(self) -> Layout:
        """How the subject is to lie on the canvas."""
        return Layout(
            crop=self.crop,
            margins=parse_margins(self.margin),
            scale=parse_scale(self.scale),
            position=parse_position(self.position),
        )

    @property
    def corners(self) -> Corners | None:
        """The corners of the region to look at, ``None`` for the whole picture."""
        return None if self.region is None else parse_region(self.region)

    @property
    def max_pixels(self) -> int | None:
        """How many pixels the picture may have before it is shrunk."""
        return None if self.megapixels is None else round(self.megapixels * 1e6)


class _Clash(ValueError):
    """Two options that exclude each other."""

    def __init__(self, name: str, accepted: str) -> None:
        self.name = name
        self.accepted = accepted
        super().__init__(name)


OptionsT = TypeVar("OptionsT", bound=_Options)


def parse_options(
    kind: type[OptionsT], fields: Mapping[str, object], *, typed: Collection[str] = ()
) -> OptionsT:
    """Check named values against the options of one endpoint.

    Args:
        kind: The options there are.
        fields: Values by name; a text stands for a number or a truth value as well.
        typed: Names of values that already have a type, which must be the option's.

    Raises:
        UnknownOption: A name is not an option of this endpoint.
        InvalidOption: A value is out of its range, or two options exclude each other.
    """
    for name in fields:
        if name not in kind.model_fields:
            raise UnknownOption(name, tuple(kind.model_fields))
        if name in typed and not _has_type(fields[name], kind, name):
            raise InvalidOption(name, accepted_values(kind, name))
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        clash = first.get("ctx", {}).get("error")
        if isinstance(clash, _Clash):
            raise InvalidOption(clash.name, clash.accepted) from error
        name = str(first["loc"][0])
        raise InvalidOption(name, accepted_values(kind, name)) from error


def _has_type(value: object, kind: type[BaseModel], name: str) -> bool:
    """Tell whether a value is of an option's own type, as far as numbers and truth values go."""
    schema = _properties(kind)[name]
    types = {part.get("type") for part in schema.get("anyOf", [schema])}
    if isinstance(value, bool) or "boolean" in types:
        return "boolean" in types  # every spelling of it is one
    return not isinstance(value, str) or "string" in types


@cache
def _properties(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of all options; made once, as it takes milliseconds."""
    properties: dict[str, Any] = kind.model_json_schema()["properties"]
    return properties


def accepted_values(kind: type[BaseModel], name: str) -> str:
    """Return in words what an option accepts, from its own declaration."""
    schema = _properties(kind)[name]
    choice = next((part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"), schema)
    if "enum" in choice:
        return ", ".join(map(str, choice["enum"]))
    if choice.get("type") == "boolean":
        return "true, false"
    if "minimum" in choice:
        return f"{choice['type']} from {choice['minimum']} to {choice['maximum']}"
    if "exclusiveMinimum" in choice:
        return f"{choice['type']} between {choice['exclusiveMinimum']} and {choice['exclusiveMaximum']}"
    return str(schema.get("description", choice.get("type")))

"""Options: defines what a caller may choose, with one field per option.

The same models parse query, form and JSON fields and the command line, and describe the parameters in the
OpenAPI document. To add an option, add a field here and read it in the step that it affects.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from app.imaging.layout.css_colours import parse_colour
from app.imaging.layout.placement import (
    Corners,
    Layout,
    parse_margins,
    parse_position,
    parse_region,
    parse_scale,
)
from app.imaging.matting.stroke_list import MAX_TEXT_BYTES, STROKES_FORM, Stroke, parse_strokes
from app.spelling import format_of, truth_of

PictureFormat = Literal["png", "webp", "jpeg", "avif"]


CutoutFormat = Literal["png", "webp", "jpeg", "avif", "zip", "auto"]
MASK_AND_CUTOUT = "mask,cutout"
PARTS: Mapping[str, str] = {
    "background": "Picture to put behind the subject.",
    "mask": "Your own mask or trimap of the picture; then no network runs.",
    "keep": "Mask of what belongs to the subject: brush strokes.",
    "remove": "Mask of what does not: brush strokes.",
}
"""Files that a request may contain in addition to its picture, by the name of their field."""
_NO_COLOUR = frozenset({"transparent", "blur"})


def _background(text: str) -> object:
    return text if text in _NO_COLOUR else parse_colour(text)


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator that parses a text as a check, and keeps the text itself."""

    def check(text: str | None) -> str | None:
        if text is not None:
            parse(text)
        return text

    return AfterValidator(check)


def _truth(value: object) -> object:
    """Accept the spellings of yes and no as texts, and the numbers 1 and 0."""
    if isinstance(value, bool):
        return value
    truth = truth_of(str(value)) if isinstance(value, str | int) else None
    return "neither" if truth is None else truth


def _format(value: object) -> object:
    """Accept the other names of a format."""
    return format_of(value) if isinstance(value, str) else value


Truth = Annotated[bool, BeforeValidator(_truth)]


def _results(value: object) -> object:
    """Accept the two results in either order."""
    return MASK_AND_CUTOUT if value == "cutout,mask" else value


class Options(BaseModel):
    """The options of both endpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(
        None, max_length=64, description="Name of a model in service; the default model if absent."
    )
    format: Annotated[CutoutFormat, BeforeValidator(_format)] = Field(
        "png", description="File format of the result."
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
    refine: Literal["auto", "crop", "none"] = "none"
    require_foreground: Truth = Field(
        default=False,
        description="Refuses a picture without a subject (422) instead of returning an empty result.",
    )
    strokes: Annotated[str | None, _checked(parse_strokes)] = Field(
        None,
        max_length=MAX_TEXT_BYTES,
        description=f"What a person painted to correct the result, in pixels of the upright picture: "
        f"{STROKES_FORM}. Later strokes count where they overlap. Files `keep` and `remove` do the same, "
        "8-bit pictures in the picture's shape that are painted where they are bright (128 or more).",
    )

    @property
    def painted_strokes(self) -> tuple[Stroke, ...]:
        """The strokes, in the order in which they were painted."""
        return () if self.strokes is None else parse_strokes(self.strokes)


class MaskOptions(Options):
    """The options of ``/v1/mask``."""

    format: Annotated[PictureFormat, BeforeValidator(_format)] = Field(
        "png", description="File format of the result; `jpg`, capitals and media types are accepted too."
    )
    matting: Literal["none", "fast", "hq"] = Field(
        "none",
        description="`none` returns the saliency map as published; `fast` refines its soft band; `hq` solves "
        "it from the picture's colours.",
    )
    refine: Literal["crop", "none"] = Field(
        "none",
        description="`crop` runs the network again on the subject alone, if that is less than 60 % of the "
        "picture, and uses the finer edges where both runs agree on the subject.",
    )
    size: Literal["source", "network"] = Field(
        "source", description="Size of the mask: the upright picture's, or the network's own."
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Makes a yes/no mask: 255 where the map is at least this, else 0."
    )

    @model_validator(mode="after")
    def _check_source_size(self) -> Self:
        if self.refine != "none" and self.size == "network":
            raise Conflict("size", f"source, when refine={self.refine}")
        if self.matting != "none" and self.size == "network":
            raise Conflict("size", f"source, when matting={self.matting}")
        return self


class CutoutOptions(Options):
    """The options of ``/v1/cutout``."""

    format: Annotated[CutoutFormat, BeforeValidator(_format)] = Field(
        "png",
        description="File format of the result, also as `jpg`, in capitals or as a media type; `zip` has "
        "`color.jpg` and `alpha.png`; `auto` is PNG if the result has transparent parts or is too large "
        "for a JPEG, else JPEG.",
    )
    matting: Literal["fast", "hq", "none"] = Field(
        "fast",
        description="`fast` refines alpha with a guided filter and removes the background from edge colours; "
        "`hq` solves alpha from the picture's colours, in seconds; `none` uses the saliency map as alpha.",
    )
    haze: Literal["remove", "keep"] = Field(
        "remove",
        description="`remove` decides the regions of which the network is unsure: each becomes subject or "
        "background as a whole, and only the edge stays soft. `keep` shows them half-transparent, for glass, "
        "smoke and very fine hair.",
    )
    refine: Literal["auto", "crop", "none"] = Field(
        "auto",
        description="`crop` runs the network again on the subject alone, if that is less than 60 % of the "
        "picture, and uses the finer edges where both runs agree on the subject; `auto` does so for whole "
        "pictures beyond 3:1, which the network sees squeezed, and `none` never.",
    )
    results: Annotated[Literal["cutout", "mask,cutout"], BeforeValidator(_results)] = Field(
        "cutout",
        description="`mask,cutout` also returns the saliency mask, a PNG like that of `/v1/mask`: the "
        "response is `multipart/form-data` with both, or JSON with the member `mask`.",
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
    crop: Truth = Field(default=False, description="Crops the result to the subject and `margin`.")
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
        description="`auto` omits alpha if the result is opaque, `rgba` keeps it if the format can, `alpha` "
        "returns the alpha matte alone, 8-bit grey. A transparent background picture stays so with `rgba`, "
        "and is laid over white otherwise.",
    )
    report_box: Truth = Field(
        default=False,
        description="Adds the header `X-Cutout-Subject`: left, top, right and bottom of the subject.",
    )
    megapixels: float | None = Field(
        None,
        ge=0.0001,
        le=1000,
        description="Shrinks a larger picture to this many megapixels before anything else.",
    )

    @model_validator(mode="after")
    def _check_jpeg_has_background(self) -> Self:
        if self.format == "jpeg" and self.background == "transparent" and self.channels != "alpha":
            raise Conflict("background", "a colour, when format=jpeg: JPEG has no transparency")
        return self

    @model_validator(mode="after")
    def _check_zip_is_transparent(self) -> Self:
        if self.format == "zip" and (self.background != "transparent" or self.channels == "alpha"):
            raise Conflict("background", "transparent, when format=zip: it holds the cutout's alpha")
        return self

    @model_validator(mode="after")
    def _check_blur_is_not_moved(self) -> Self:
        if self.background == "blur" and (self.layout.moves or self.region is not None):
            raise Conflict(
                "background", "no blur, with a region or when the subject is cropped, scaled or moved"
            )
        return self

    @model_validator(mode="after")
    def _check_mask_is_of_whole_picture(self) -> Self:
        if self.results == MASK_AND_CUTOUT and (self.region is not None or self.megapixels is not None):
            raise Conflict("results", "cutout, with a region or megapixels: the mask is of the whole picture")
        return self

    @property
    def background_rgba(self) -> tuple[int, int, int, int] | None:
        """The background colour as sRGB and alpha in 0..255, ``None`` if there is none."""
        return None if self.background in _NO_COLOUR else parse_colour(self.background)

    @property
    def layout(self) -> Layout:
        """The size and position of the subject on the canvas."""
        return Layout(
            crop=self.crop,
            margins=parse_margins(self.margin),
            scale=parse_scale(self.scale),
            position=parse_position(self.position),
        )

    @property
    def corners(self) -> Corners | None:
        """The corners of the region to segment, ``None`` for the whole picture."""
        return None if self.region is None else parse_region(self.region)

    @property
    def max_pixels(self) -> int | None:
        """The most pixels of a picture; a larger one is shrunk."""
        return None if self.megapixels is None else round(self.megapixels * 1e6)


class Conflict(ValueError):
    """Two options that exclude each other."""

    def __init__(self, name: str, accepted: str) -> None:
        self.name = name
        self.accepted = accepted
        super().__init__(name)

"""V1 parser: parses requests to ``/v1``, with a picture in any envelope and named options."""

from collections.abc import Mapping

from app.errors import InvalidOption, UnknownOption
from app.options import MASK_AND_CUTOUT, CutoutOptions, MaskOptions
from app.options_parser import parse_options
from app.pipeline.values import CutoutRequest, MaskRequest, PictureSource
from app.spelling import format_of
from app.web.handler import Query
from app.web.request.envelope import BACKDROP_FIELD, Envelope, open_envelope


def parse_mask_request(content_type: str, body: bytes, query: Query) -> MaskRequest:
    """Parse a request to ``/v1/mask``.

    Raises:
        MalformedRequest: The request cannot be parsed, or has no picture.
        UnknownOption, InvalidOption: An option is invalid, or cannot be used with a mask or strokes.
    """
    return mask_request_of(open_envelope(content_type, body, query))


def parse_cutout_request(content_type: str, body: bytes, query: Query) -> CutoutRequest:
    """Parse a request to ``/v1/cutout``.

    Raises:
        MalformedRequest: The request cannot be parsed, or has no picture.
        UnknownOption, InvalidOption: An option is invalid, or cannot be used with a background or a mask.
    """
    return cutout_request_of(open_envelope(content_type, body, query))


def mask_request_of(envelope: Envelope) -> MaskRequest:
    """Return the request for a mask that an envelope contains.

    Raises:
        UnknownOption, InvalidOption: An option is invalid, or cannot be used with a mask or strokes.
    """
    given = envelope.options if envelope.backdrop is None else _with_backdrop(envelope.options)
    options = parse_options(MaskOptions, given, typed=envelope.typed)
    if envelope.backdrop is not None:
        raise UnknownOption(BACKDROP_FIELD, tuple(MaskOptions.model_fields))
    is_painted = options.strokes is not None or "keep" in envelope.masks or "remove" in envelope.masks
    if options.size == "network" and (envelope.masks or is_painted):
        raise InvalidOption("size", "source, with a mask of your own or strokes")
    return MaskRequest(_picture(envelope), options, **_masks(envelope))


def cutout_request_of(envelope: Envelope) -> CutoutRequest:
    """Return the request for a cutout that an envelope contains.

    Raises:
        UnknownOption, InvalidOption: An option is invalid, or cannot be used with a background or a mask.
    """
    given = envelope.options if envelope.backdrop is None else _with_backdrop(envelope.options)
    options = parse_options(CutoutOptions, given, typed=envelope.typed)
    if "mask" in envelope.masks and options.region is not None:
        raise InvalidOption("region", "none, with a mask of your own")
    if "mask" in envelope.masks and options.results == MASK_AND_CUTOUT:
        raise InvalidOption("results", "cutout, with a mask of your own")
    if envelope.backdrop is not None and options.format == "zip":
        raise InvalidOption("format", "any but zip, with a background: a ZIP holds the cutout's alpha")
    backdrop = None if envelope.backdrop is None else PictureSource(envelope.backdrop)
    return CutoutRequest(_picture(envelope), options, backdrop, **_masks(envelope))


def _picture(envelope: Envelope) -> PictureSource:
    return PictureSource(envelope.upload, envelope.image_url)


def _masks(envelope: Envelope) -> dict[str, PictureSource]:
    return {name: PictureSource(upload) for name, upload in envelope.masks.items()}


def _with_backdrop(given: Mapping[str, object]) -> Mapping[str, object]:
    """Return the options of a request with a backdrop: it fills a JPEG, which then needs no colour."""
    is_jpeg = format_of(str(given.get("format", ""))) == "jpeg"
    is_unfilled = given.get("background", "transparent") == "transparent"
    return {**given, "background": "white"} if is_jpeg and is_unfilled else given

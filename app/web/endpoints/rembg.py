"""rembg: parses requests to the endpoint of rembg's server, and renders its errors.

Every option may be in the form or in the query, although rembg itself reads only one of them. Models have the
same names in rembg and here.
"""

from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from app.errors import ParameterRefused
from app.options import CutoutOptions, MaskOptions
from app.options_parser import parse_options
from app.pipeline.values import CutoutRequest, ImageRequest, MaskRequest, PictureSource
from app.spelling import truth_of
from app.web.handler import Query
from app.web.request.forms import Form, Part, read_form, text_of
from app.web.request.picture_part import picture_of
from app.web.request.texts import whole_number

OWN_DEFAULTS = frozenset({"", "bria-rmbg", "u2net"})
"""The present and former default models of rembg: without one of that name, this server's default model."""
SOURCES = ("file", "url")
OPTIONS = ("model", "a", "af", "ab", "ae", "om", "ppm", "dc", "vm", "bgc", "extras")


def parse_request(
    content_type: str, body: bytes, query: Query, *, has_model: Callable[[str], bool] = lambda _: False
) -> ImageRequest:
    """Parse a request to ``/api/remove``.

    Args:
        content_type: Of the body.
        body: The form.
        query: The names and values in the URL.
        has_model: Whether the server has a model of a name.

    Raises:
        ParameterRefused: The value of an option is not accepted, or there is no picture.
        InvalidOption: There is no model of that name.
        MalformedRequest: The body cannot be parsed.
    """
    form = read_form(content_type, body) if body else Form([])
    parts = [*(Part(name, value) for name, value in query), *form.parts]
    given = {part.name: text_of(part) or "" for part in parts if part.name in OPTIONS}
    picture = _source(parts, form.blank)
    model = given.get("model", "")
    name = None if model in OWN_DEFAULTS and not has_model(model) else model
    for option in ("af", "ab", "ae"):
        _number(option, given.get(option, "0"), maximum=255 if option != "ae" else 10_000)
    matting = "fast" if any(_truth(given, option) for option in ("a", "dc", "vm")) else "none"
    binarises = _truth(given, "ppm")
    if _truth(given, "om"):
        of_mask = {"model": name, "threshold": 0.5 if binarises else None}
        return MaskRequest(picture, parse_options(MaskOptions, of_mask))
    background = given.get("bgc", "")
    of_cutout = {
        "model": name,
        "matting": matting,
        "background": _colour(background) if background else "transparent",
        "threshold": 0.5 if binarises else None,
        "channels": "rgba",
    }
    return CutoutRequest(picture, parse_options(CutoutOptions, of_cutout))


def render_error(error: Exception, problem: JSONResponse, sent: Headers) -> Response:  # noqa: ARG001 - as all
    """Return an error in FastAPI's format, ``{"detail": …}``; 4xx if the client can fix it."""
    detail = "Internal Server Error" if problem.status_code == 500 else str(error)
    kept = ("retry-after", "connection", "www-authenticate")
    headers = {name: problem.headers[name] for name in kept if name in problem.headers}
    status = 422 if isinstance(error, ParameterRefused) else problem.status_code
    return JSONResponse({"detail": detail}, status, headers=headers)


def _source(parts: list[Part], blank: frozenset[str]) -> PictureSource:
    sent = [part for part in parts if part.name in SOURCES]
    given = [part for part in sent if part.value != b""]
    if not given and (sent or not blank.isdisjoint(SOURCES)):
        raise ParameterRefused("picture", "The picture is empty. Send one: a file named file, or a url")
    if len(given) != 1:
        raise ParameterRefused("picture", "Send one picture: a file named file, or a url")
    return (
        PictureSource(url=text_of(given[0]))
        if given[0].name == "url"
        else PictureSource(picture_of(given[0]))
    )


def _truth(given: Mapping[str, str], name: str) -> bool:
    truth = truth_of(given.get(name, "false"))
    if truth is None:
        raise ParameterRefused(name, f"{name} is true or false")
    return truth


def _number(name: str, text: str, *, maximum: int) -> int:
    number = whole_number(text, maximum=maximum)
    if number is None:
        raise ParameterRefused(name, f"{name} is a whole number from 0 to {maximum}")
    return number


def _colour(text: str) -> str:
    """Parse ``r,g,b,a``, and return a hex colour."""
    parts = text.split(",")
    if len(parts) != 4:
        raise ParameterRefused("bgc", "bgc is r,g,b,a")
    return "#" + "".join(f"{_number('bgc', part.strip(), maximum=255):02x}" for part in parts)

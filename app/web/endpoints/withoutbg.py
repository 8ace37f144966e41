"""withoutBG: parses requests to its two endpoints, and renders the alpha matte and errors.

Its SDK sends base64 in JSON, rembg's ``-m withoutbg`` sends a file; neither has options, but ``model`` is
accepted. The client computes the colours.
"""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from app.errors import ParameterRefused
from app.options import CutoutOptions
from app.options_parser import parse_options
from app.pipeline.values import CutoutRequest, PictureSource, Result
from app.web.handler import Query
from app.web.request.base64_text import decode_base64
from app.web.request.forms import read_form, text_of
from app.web.request.picture_part import picture_of
from app.web.sliced_response import Base64, json_response

FIELDS = ("file", "image_base64")


def parse_request(content_type: str, body: bytes, query: Query) -> CutoutRequest:
    """Parse a request to either endpoint: one picture, as ``file`` or as ``image_base64``.

    Raises:
        ParameterRefused: There is no picture, or more than one.
        MalformedRequest: The body cannot be parsed.
    """
    form = read_form(content_type, body)
    named = [value for name, value in query if name == "model"]
    named += [text_of(part) or "" for part in form.parts if part.name == "model"]
    sent = [part for part in form.parts if part.name in FIELDS]
    given = [part for part in sent if part.value != b""]
    if len(given) != 1:
        is_empty = not given and (sent or not form.blank.isdisjoint(FIELDS))
        empty = "The picture is empty. " if is_empty else ""
        raise ParameterRefused("picture", f"{empty}Send one picture, as {' or '.join(FIELDS)}.")
    value = given[0].value
    if isinstance(value, bytes) and given[0].name == "image_base64":
        upload = decode_base64(value)
    else:
        upload = picture_of(given[0])
    options = {"channels": "alpha", "model": next(filter(None, named), None)}
    return CutoutRequest(PictureSource(upload), parse_options(CutoutOptions, options))


def alpha_in_json(result: Result) -> Response:
    """Return the response of ``/v1.0/alpha-channel-base64``."""
    return json_response({"alpha_base64": Base64(result.encoded)})


def render_error(error: Exception, problem: JSONResponse, sent: Headers) -> Response:  # noqa: ARG001 - as all
    """Return an error for both clients: the SDK reads ``error``, rembg ``detail``."""
    text = "Internal Server Error" if problem.status_code == 500 else str(error)
    kept = ("retry-after", "connection", "www-authenticate")
    headers = {name: problem.headers[name] for name in kept if name in problem.headers}
    return JSONResponse({"detail": text, "error": text}, problem.status_code, headers=headers)

"""withoutBG: its two endpoints, which answer an alpha matte and leave the colours to the client.

Its SDK sends base64 in JSON, rembg's ``-m withoutbg`` a file; neither has options.
"""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from app.answer import Answer
from app.errors import ParameterRefused
from app.options import CutoutOptions
from app.web.carry import Query, Source, Wanted
from app.web.forms import read_form, text_of
from app.web.pieces import Base64, json_response
from app.web.texts import LongText, decode_base64

FIELDS = ("file", "image_base64")


def understand(content_type: str, body: bytes, query: Query) -> Wanted:  # noqa: ARG001 - as all
    """Understand a request to either endpoint: one picture, as ``file`` or as ``image_base64``.

    Raises:
        ParameterRefused: There is no picture, or more than one.
        MalformedRequest: The body cannot be read.
    """
    found = [part for part in read_form(content_type, body)[0] if part.name in FIELDS and part.value]
    if len(found) != 1:
        raise ParameterRefused("picture", f"Send one picture, as {' or '.join(FIELDS)}.")
    value = found[0].value
    if found[0].name == "file" and isinstance(value, bytes):
        upload = value
    else:
        upload = decode_base64(value if isinstance(value, bytes | LongText) else text_of(found[0]) or "")
    return Wanted(Source(upload), CutoutOptions(channels="alpha"))


def alpha_in_json(answer: Answer) -> Response:
    """Return the answer of ``/v1.0/alpha-channel-base64``."""
    return json_response({"alpha_base64": Base64(answer.encoded)})


def render_error(error: Exception, problem: JSONResponse, sent: Headers) -> Response:  # noqa: ARG001 - as all
    """Tell an error as its clients read it: the SDK ``error``, rembg ``detail``."""
    text = "Internal Server Error" if problem.status_code == 500 else str(error)
    kept = ("retry-after", "connection", "www-authenticate")
    headers = {name: problem.headers[name] for name in kept if name in problem.headers}
    return JSONResponse({"detail": text, "error": text}, problem.status_code, headers=headers)

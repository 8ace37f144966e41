"""Requests: the options of a run become the API's requests, for this process and for a server alike.

The API's own parser reads them, so that an option has the same meaning and the same errors everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import httpx

from app.cli.removal.flags import Choices, option_flag, part_flag
from app.cli.removal.values import UsageProblem
from app.errors import InvalidOption, RequestRejected
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import ImageRequest
from app.web.endpoints.v1_parser import parse_cutout_request, parse_mask_request
from app.web.request.envelope import BACKDROP_FIELD


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """What the requests of a run have in common.

    Attributes:
        endpoint: Whether cutouts or masks are requested.
        options: The options, as texts.
        parts: The files in addition to the picture, by the name of their field.
    """

    endpoint: Literal["cutout", "mask"]
    options: Mapping[str, str]
    parts: Mapping[str, bytes]

    def body_with(self, upload: bytes) -> tuple[str, bytes]:
        """Return the content type and the body of a request: the picture, or a form with more files."""
        if not self.parts:
            return "application/octet-stream", upload
        files = [(name, (name, contents)) for name, contents in {"image": upload, **self.parts}.items()]
        form = httpx.Request("POST", "http://localhost", files=files)
        return form.headers["content-type"], form.read()

    def parse(self, upload: bytes) -> ImageRequest:
        """Return the parsed request for a picture.

        Raises:
            CutoutError: An option is invalid, or two exclude each other.
        """
        content_type, body = self.body_with(upload)
        query = list(self.options.items())
        if self.endpoint == "mask":
            return parse_mask_request(content_type, body, query)
        return parse_cutout_request(content_type, body, query)


def template_for(choices: Choices, *, result_format: str, only_mask: bool) -> RequestTemplate:
    """Return the template for the chosen options and files, checked by the API's parser.

    Args:
        choices: The options and files of the command line.
        result_format: The format of the results.
        only_mask: Whether masks are requested.

    Raises:
        UsageProblem: An option is not one of the endpoint, has a wrong value, or excludes another one.
        OSError: A file cannot be read.
    """
    kind = MaskOptions if only_mask else CutoutOptions
    for name in choices.options:
        if name not in kind.model_fields:
            why = "goes with cutouts: leave out --only-mask" if only_mask else "goes with --only-mask"
            raise UsageProblem(f"{option_flag(name)} {why}")
    if only_mask and BACKDROP_FIELD in choices.parts:
        raise UsageProblem(f"{part_flag(BACKDROP_FIELD)} goes with cutouts: leave out --only-mask")
    parts = {name: path.read_bytes() for name, path in choices.parts.items()}
    options = {**choices.options, "format": result_format}
    template = RequestTemplate("mask" if only_mask else "cutout", options, parts)
    try:
        template.parse(b"the options are checked before any picture is read")
    except InvalidOption as error:
        but = f", and not {options[error.name]}" if error.name in choices.options else ""
        raise UsageProblem(f"{option_flag(error.name)} accepts {error.accepted}{but}") from error
    except RequestRejected as error:
        raise UsageProblem(str(error)) from error
    return template

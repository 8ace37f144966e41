"""Envelope: a request body and its query become one picture and named options.

The picture comes as the raw body, as a multipart file, as base64 in JSON, or is named by its URL; options
come as query, form or JSON fields with the same names. Nothing here touches the disk or the network.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header

from app.errors import MalformedRequest
from app.web.forms import read_json, read_multipart

IMAGE_FIELDS = ("image", "file", "image_file")
URL_FIELD = "image_url"
BACKDROP_FIELD, MASK_FIELD = "background", "mask"
ONE_PICTURE = (
    f"Send exactly one picture: a file or base64 text named one of {', '.join(IMAGE_FIELDS)}, or {URL_FIELD}."
)
MAX_FIELDS = 64
MAX_FIELD_BYTES = 4096


@dataclass(slots=True)
class Envelope:
    """An upload, or the URL of a picture, and the options that came with it.

    ``backdrop`` is the picture to go behind the subject, and ``mask`` the caller's own mask or trimap, where
    there are files named ``background`` and ``mask``.
    ``typed`` are the names of those that came as JSON, and so have a type; all others are texts.
    """

    upload: bytes | None = None
    image_url: str | None = None
    backdrop: bytes | None = None
    mask: bytes | None = None
    options: dict[str, object] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    _given: int = 0

    def add_option(self, name: str, value: object) -> None:
        """Take one option.

        Raises:
            MalformedRequest: It was given before with another value, or there are too many.
        """
        if name in self.options and self.options[name] != value:
            raise MalformedRequest("An option is given more than once, with different values.")
        self._given += 1
        if self._given > MAX_FIELDS:
            raise MalformedRequest(f"There are more than {MAX_FIELDS} options.")
        self.options[name] = value


def open_envelope(content_type: str, body: bytes, query: Iterable[tuple[str, str]]) -> Envelope:
    """Take upload and options out of a request.

    A body that is neither multipart nor JSON is the picture itself, whatever its content type
    says: the bytes decide. An option in the body counts more than one of the same name in the query.

    Raises:
        MalformedRequest: The envelope cannot be read, or holds no picture.
    """
    kind, parameters = parse_options_header(content_type)
    envelope = Envelope()
    for name, value in query:
        envelope.add_option(name, value)
    of_query, envelope.options = envelope.options, {}
    if kind == b"multipart/form-data":
        _open_multipart(parameters.get(b"boundary"), body, envelope)
    elif kind == b"application/json":
        _open_json(body, envelope)
    elif body or URL_FIELD not in of_query:
        envelope.upload = body
    envelope.options = of_query | envelope.options
    _name_picture(envelope)
    if any(isinstance(value, str) and len(value) > MAX_FIELD_BYTES for value in envelope.options.values()):
        raise MalformedRequest(f"An option is longer than {MAX_FIELD_BYTES} bytes.")
    return envelope


def _name_picture(envelope: Envelope) -> None:
    """Tell the URL of a picture from the options; there is exactly one picture."""
    url = envelope.options.pop(URL_FIELD, None)
    if url is not None and not isinstance(url, str):
        raise MalformedRequest(f"The {URL_FIELD} is not a text.")
    if (envelope.upload is None) == (url is None):
        raise MalformedRequest(ONE_PICTURE)
    envelope.image_url = url


def _open_multipart(boundary: bytes | None, body: bytes, envelope: Envelope) -> None:
    for part in read_multipart(boundary, body):
        assert isinstance(part.value, bytes)  # noqa: S101 - a multipart body has nothing else
        if part.name in IMAGE_FIELDS:
            if envelope.upload is not None:
                raise MalformedRequest("Send exactly one picture; the multipart body holds more.")
            envelope.upload = part.value
        elif part.is_file and part.name == BACKDROP_FIELD and envelope.backdrop is None:
            envelope.backdrop = part.value
        elif part.is_file and part.name == MASK_FIELD and envelope.mask is None:
            envelope.mask = part.value
        else:
            envelope.add_option(part.name, part.value.decode("utf-8", "replace"))


def _open_json(body: bytes, envelope: Envelope) -> None:
    members = read_json(body)
    picture = members.pop("image", None)
    if picture is not None:
        if not isinstance(picture, str):
            raise MalformedRequest('"image" is not a base64 text or data URL.')
        envelope.upload = decode_base64(picture)
    mask = members.pop(MASK_FIELD, None)
    if mask is not None:
        if not isinstance(mask, str):
            raise MalformedRequest('"mask" is not a base64 text or data URL.')
        envelope.mask = decode_base64(mask)
    for name, value in members.items():
        envelope.add_option(name, value)
    envelope.typed = frozenset(members)


def decode_base64(text: str) -> bytes:
    """Decode base64 with or without white space, or a data URL of it.

    Raises:
        MalformedRequest: It is neither.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MalformedRequest("The data URL is not base64.")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest("The text is not base64.") from error

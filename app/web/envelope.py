"""Envelope: a request body and its query become one picture and named options.

The picture comes as the raw body, as a multipart file, as base64 in JSON, or is named by its URL; options
come as query, form or JSON fields with the same names. Nothing here touches the disk or the network.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.errors import MalformedRequest
from app.web.forms import JSON, MULTIPART, kind_of, read_multipart
from app.web.json_body import read_json
from app.web.texts import LongText, decode_base64, plain_slices, read_text

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
    kind, boundary = kind_of(content_type)
    envelope = Envelope()
    for name, value in query:
        envelope.add_option(name, value)
    of_query, envelope.options = envelope.options, {}
    if kind == MULTIPART:
        _open_multipart(boundary, body, envelope)
    elif kind == JSON:
        _open_json(body, envelope)
    elif body or URL_FIELD not in of_query:
        envelope.upload = body
    envelope.options = of_query | envelope.options
    _name_picture(envelope)
    if any(_is_too_long(value) for value in envelope.options.values()):
        raise MalformedRequest(f"An option is longer than {MAX_FIELD_BYTES} bytes.")
    return envelope


def _is_too_long(value: object) -> bool:
    return isinstance(value, LongText) or (isinstance(value, str) and len(value) > MAX_FIELD_BYTES)


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
            is_short = len(part.value) <= MAX_FIELD_BYTES
            text = (
                read_text(part.value, "An option")
                if is_short
                else LongText(memoryview(part.value), plain_slices)
            )
            envelope.add_option(part.name, text)


def _open_json(body: bytes, envelope: Envelope) -> None:
    members = read_json(body)
    envelope.upload = _picture_of(members, "image")
    envelope.mask = _picture_of(members, MASK_FIELD)
    for name, value in members.items():
        envelope.add_option(name, value)
    envelope.typed = frozenset(members)


def _picture_of(members: dict[str, object], name: str) -> bytes | None:
    """Take a picture in base64 out of the members, if there is one of that name."""
    text = members.pop(name, None)
    if text is None:
        return None
    if not isinstance(text, str | LongText):
        raise MalformedRequest(f'"{name}" is not a base64 text or data URL.')
    return decode_base64(text)

"""Envelope: parses the body and the query of a request into one picture and its options.

The picture is the raw body, a multipart file, base64 in a form or in JSON, or a URL. Options are query, form
or JSON fields of the same names. This module uses neither the disk nor the network.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.errors import MalformedRequest
from app.web.request.forms import FORMS, Form, Part, kind_of, read_form
from app.web.request.picture_part import is_picture, picture_of
from app.web.request.texts import LongText, plain_slices, read_text

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
    """A parsed request: an upload or the URL of a picture, and options.

    Attributes:
        upload: The picture, if the request contains it.
        image_url: The URL of the picture otherwise.
        backdrop: The picture to put behind the subject: the file named ``background``.
        mask: The caller's own mask or trimap: the file named ``mask``.
        options: The other fields, by name.
        typed: Names of options from JSON, whose values have types; all other values are texts.
        blank: Names of parts that were sent empty, and so count as absent.
    """

    upload: bytes | None = None
    image_url: str | None = None
    backdrop: bytes | None = None
    mask: bytes | None = None
    options: dict[str, object] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    blank: frozenset[str] = frozenset()
    _option_count: int = 0

    def add_option(self, name: str, value: object) -> None:
        """Add one option.

        Raises:
            MalformedRequest: The option already has another value, or there are too many options.
        """
        if name in self.options and self.options[name] != value:
            raise MalformedRequest("An option is given more than once, with different values.")
        self._option_count += 1
        if self._option_count > MAX_FIELDS:
            raise MalformedRequest(f"There are more than {MAX_FIELDS} options.")
        self.options[name] = value


def open_envelope(content_type: str, body: bytes, query: Iterable[tuple[str, str]]) -> Envelope:
    """Parse the upload and the options of a request.

    A body that is neither a form nor JSON is the picture itself, whatever its content type: the bytes decide.
    An option in the body overrides one of the same name in the query.

    Raises:
        MalformedRequest: The request cannot be parsed, or has no picture.
    """
    envelope = Envelope()
    for name, value in query:
        envelope.add_option(name, value)
    query_options, envelope.options = envelope.options, {}
    if kind_of(content_type, body)[0] in FORMS:
        _add_form(read_form(content_type, body), envelope)
    elif body or URL_FIELD not in query_options:
        envelope.upload = body
    envelope.options = query_options | envelope.options
    _set_image_url(envelope)
    if any(_is_too_long(value) for value in envelope.options.values()):
        raise MalformedRequest(f"An option is longer than {MAX_FIELD_BYTES} bytes.")
    return envelope


def _is_too_long(value: object) -> bool:
    return isinstance(value, LongText) or (isinstance(value, str) and len(value) > MAX_FIELD_BYTES)


def _set_image_url(envelope: Envelope) -> None:
    """Move the URL of the picture out of the options, and check that there is exactly one picture."""
    url = envelope.options.pop(URL_FIELD, None)
    if url is not None and not isinstance(url, str):
        raise MalformedRequest(f"The {URL_FIELD} is not a text.")
    if envelope.upload is None and url is None and not envelope.blank.isdisjoint(IMAGE_FIELDS):
        envelope.upload = b""  # refused later, as an empty picture
    elif envelope.upload is None and url is None and URL_FIELD in envelope.blank:
        raise MalformedRequest(f"The {URL_FIELD} is empty. {ONE_PICTURE}")
    if (envelope.upload is None) == (url is None):
        raise MalformedRequest(ONE_PICTURE)
    envelope.image_url = url


def _add_form(form: Form, envelope: Envelope) -> None:
    """Sort the parts of a form into pictures and options, by name and content."""
    for part in form.parts:
        if part.name in IMAGE_FIELDS:
            if envelope.upload is not None:
                raise MalformedRequest("Send exactly one picture; the body holds more.")
            envelope.upload = picture_of(part)
        elif part.name == MASK_FIELD:
            if envelope.mask is not None:
                raise MalformedRequest("Send one mask; the body holds more.")
            envelope.mask = picture_of(part)
        elif part.name == BACKDROP_FIELD and is_picture(part):
            if envelope.backdrop is not None:
                raise MalformedRequest("Send one background; the body holds more.")
            envelope.backdrop = picture_of(part)
        else:
            envelope.add_option(part.name, _value_of(part))
    envelope.blank = form.blank
    if form.is_typed:
        envelope.typed = frozenset(envelope.options)


def _value_of(part: Part) -> object:
    """Return the value of an option; decodes the text of a multipart part."""
    if not isinstance(part.value, bytes):
        return part.value
    if len(part.value) > MAX_FIELD_BYTES:
        return LongText(memoryview(part.value), plain_slices)
    return read_text(part.value, "An option")

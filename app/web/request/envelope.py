"""Envelope: parses the body and the query of a request into one picture and its options.

The picture is the raw body, a multipart file, base64 in a form or in JSON, or a URL. Options are query, form
or JSON fields of the same names. This module uses neither the disk nor the network.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.errors import InvalidOption, MalformedRequest
from app.imaging.matting.stroke_list import MAX_TEXT_BYTES
from app.web.request.forms import FORMS, Form, Part, kind_of, read_form
from app.web.request.picture_part import is_picture, picture_of
from app.web.request.texts import LongText, plain_slices, read_text

IMAGE_FIELDS = ("image", "file", "image_file")
URL_FIELD = "image_url"
BACKDROP_FIELD, STROKES_FIELD = "background", "strokes"
MASK_FIELDS = ("mask", "keep", "remove")
ONE_PICTURE = (
    f"Send exactly one picture: a file or base64 text named one of {', '.join(IMAGE_FIELDS)}, or {URL_FIELD}."
)
MAX_FIELDS = 64
MAX_FIELD_BYTES = 4096
MAX_BYTES = {STROKES_FIELD: MAX_TEXT_BYTES}
"""Limits of the options that may be longer than ``MAX_FIELD_BYTES``."""


@dataclass(slots=True)
class Envelope:
    """A parsed request: an upload or the URL of a picture, and options.

    Attributes:
        upload: The picture, if the request contains it.
        image_url: The URL of the picture otherwise.
        backdrop: The picture to put behind the subject: the file named ``background``.
        masks: The caller's own mask or trimap, and pictures of strokes: files, by name.
        options: The other fields, by name.
        typed: Names of options from JSON, whose values have types; all other values are texts.
        blank: Names of parts that were sent empty, and so count as absent.
    """

    upload: bytes | None = None
    image_url: str | None = None
    backdrop: bytes | None = None
    masks: dict[str, bytes] = field(default_factory=dict)
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
    envelope.options = {name: _bounded(name, value) for name, value in envelope.options.items()}
    return envelope


def _bounded(name: str, value: object) -> object:
    """Return the value of an option, unless it is a text that is too long.

    Raises:
        InvalidOption: The option may be longer than others, but not as long.
        MalformedRequest: It is too long.
    """
    limit_bytes = MAX_BYTES.get(name, MAX_FIELD_BYTES)
    is_readable = name in MAX_BYTES and isinstance(value, LongText) and len(value.raw) <= 3 * limit_bytes
    text = _text_of(value) if is_readable and isinstance(value, LongText) else value
    if not isinstance(text, LongText) and not (isinstance(text, str) and len(text) > limit_bytes):
        return text
    if name in MAX_BYTES:
        raise InvalidOption(name, f"a text of at most {limit_bytes} bytes")
    raise MalformedRequest(f"An option is longer than {limit_bytes} bytes.")


def _text_of(value: LongText) -> str:
    try:
        return read_text(b"".join(value.slices(value.raw)), "An option")
    except ValueError as error:
        raise MalformedRequest("A text of the body is not valid.") from error


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
        elif part.name in MASK_FIELDS:
            if part.name in envelope.masks:
                raise MalformedRequest(f"Send one {part.name}; the body holds more.")
            envelope.masks[part.name] = picture_of(part)
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

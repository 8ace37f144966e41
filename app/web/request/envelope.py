"""Envelope: a request body and its query become one picture and named options.

The picture comes as the raw body, as a multipart file, as base64 in a form or in JSON, or is named by its
URL; options come as query, form or JSON fields with the same names. Nothing here touches the disk or the
network.
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
    """An upload, or the URL of a picture, and the options that came with it.

    ``backdrop`` is the picture to go behind the subject, and ``mask`` the caller's own mask or trimap, where
    there are files named ``background`` and ``mask``.
    ``typed`` are the names of those that came as JSON, and so have a type; all others are texts.
    ``blank`` are the names of parts that were sent with nothing in them, and so count as absent.
    """

    upload: bytes | None = None
    image_url: str | None = None
    backdrop: bytes | None = None
    mask: bytes | None = None
    options: dict[str, object] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    blank: frozenset[str] = frozenset()
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

    A body that is no form and no JSON is the picture itself, whatever its content type says: the bytes
    decide. An option in the body counts more than one of the same name in the query.

    Raises:
        MalformedRequest: The envelope cannot be read, or holds no picture.
    """
    envelope = Envelope()
    for name, value in query:
        envelope.add_option(name, value)
    of_query, envelope.options = envelope.options, {}
    if kind_of(content_type, body)[0] in FORMS:
        _take_form(read_form(content_type, body), envelope)
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
    if envelope.upload is None and url is None and not envelope.blank.isdisjoint(IMAGE_FIELDS):
        envelope.upload = b""  # which is refused as an empty picture
    elif envelope.upload is None and url is None and URL_FIELD in envelope.blank:
        raise MalformedRequest(f"The {URL_FIELD} is empty. {ONE_PICTURE}")
    if (envelope.upload is None) == (url is None):
        raise MalformedRequest(ONE_PICTURE)
    envelope.image_url = url


def _take_form(form: Form, envelope: Envelope) -> None:
    """Tell pictures from options, by their names and what is in them."""
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
    """Return what an option holds; the text of a multipart body is read here."""
    if not isinstance(part.value, bytes):
        return part.value
    if len(part.value) > MAX_FIELD_BYTES:
        return LongText(memoryview(part.value), plain_slices)
    return read_text(part.value, "An option")

"""Picture parts: extracts the bytes of a picture from a part of a form or a member of a JSON body."""

import re

from app.errors import MalformedRequest
from app.imaging.formats.sniff import begins_picture
from app.web.request.base64_text import decode_base64
from app.web.request.forms import Part
from app.web.request.texts import LongText

_PRINTABLE = re.compile(rb"[\t\n\r -~]{1,256}")
_SNIFFED_BYTES = 256


def picture_of(part: Part) -> bytes:
    """Return the picture of a part: the bytes of a file, or its decoded base64 text.

    A multipart part counts as a file if it has a file name, starts like a picture, or is not printable text:
    Dart, Flutter and Retrofit send files without a name.

    Raises:
        MalformedRequest: The part is neither a file nor base64.
    """
    value = part.value
    if part.base64 is not None:
        return decode_base64(part.base64)
    if isinstance(value, bytes) and not _is_text(part, value):
        return value
    if isinstance(value, bytes | str | LongText):
        return decode_base64(value)
    raise MalformedRequest("The picture in the JSON body is not a base64 text or data URL.")


def is_picture(part: Part) -> bool:
    """Return whether a part, which may be a text, is a picture: by file name, media type or first bytes."""
    value = part.value
    if not isinstance(value, bytes):
        return False
    return part.is_file or part.media_type.startswith("image/") or begins_picture(value)


def _is_text(part: Part, value: bytes) -> bool:
    if part.is_file or begins_picture(value):
        return False
    return _PRINTABLE.fullmatch(value[:_SNIFFED_BYTES]) is not None

"""Base64: decodes base64 text, in any spelling that clients send, slice by slice.

Accepts RFC 4648 with either alphabet (sections 4 and 5), with or without padding, with white space anywhere,
alone or in a data URL (RFC 2397), and with percent escapes. Refuses any other text, and a text that mixes the
alphabets, because its meaning would be a guess.
"""

import base64
import binascii
import io
import re
from collections.abc import Iterable, Iterator

from app.errors import MalformedRequest
from app.web.request.percent import unquoted_slices
from app.web.request.texts import LongText, plain_slices

_WHITE_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_DATA_URL = re.compile(rb"[ \t\n\r]*data:", re.IGNORECASE)


def decode_base64(text: str | bytes | LongText) -> bytes:
    """Decode base64 in any of its spellings, or a data URL of it.

    Raises:
        MalformedRequest: The text is neither.
    """
    decoded = io.BytesIO()  # grows in place, and ``getvalue`` does not copy
    digits, padding = b"", b""
    try:
        for chunk in _in_standard_alphabet(_without_data_url_prefix(_slices_of(text))):
            new_digits, new_padding = _split_padding(chunk)
            if padding and new_digits:
                raise ValueError("there are digits after the padding")
            digits, padding = digits + new_digits, (padding + new_padding)[:4]
            whole = max(0, len(digits) // 4 - 1) * 4
            decoded.write(binascii.a2b_base64(digits[:whole], strict_mode=True))
            digits = digits[whole:]
        decoded.write(base64.b64decode(digits + (padding or b"=" * (-len(digits) % 4)), validate=True))
    except ValueError as error:  # includes binascii.Error, and text that is not ASCII
        raise MalformedRequest("The text is not base64.") from error
    return decoded.getvalue()


def _slices_of(text: str | bytes | LongText) -> Iterator[bytes]:
    if isinstance(text, str):
        return plain_slices(memoryview(re.sub(r"\s", " ", text).encode()))
    if isinstance(text, bytes):
        return plain_slices(memoryview(text))
    return text.slices(text.raw)


def _without_data_url_prefix(slices: Iterator[bytes]) -> Iterator[bytes]:
    """Undo percent escapes, and drop the prefix of a data URL (``data:…;base64,``) if there is one.

    The prefix ends within the first slice that is not blank. It is searched before the escapes are undone,
    because one of its parameters may have an escaped comma, and again after that, because the whole URL may
    be escaped.
    """
    first = next((chunk for chunk in slices if chunk.strip()), b"")
    if _DATA_URL.match(first):
        yield from unquoted_slices(_chain(_cut_prefix(first), slices))
        return
    is_first = True
    for chunk in unquoted_slices(_chain(first, slices)):
        yield _cut_prefix(chunk) if is_first and _DATA_URL.match(chunk) else chunk
        is_first = is_first and not chunk


def _chain(first: bytes, slices: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from slices


def _cut_prefix(chunk: bytes) -> bytes:
    prefix, comma, after = chunk.partition(b",")
    if not comma or not prefix.translate(None, _WHITE_SPACE).lower().endswith(b";base64"):
        raise MalformedRequest("The data URL is not base64.")
    return after


def _in_standard_alphabet(slices: Iterable[bytes]) -> Iterator[bytes]:
    """Remove white space, and translate the URL-safe alphabet (RFC 4648, 5) to the standard one (4)."""
    is_standard = is_url_safe = False
    for chunk in slices:
        is_standard = is_standard or b"+" in chunk or b"/" in chunk
        is_url_safe = is_url_safe or b"-" in chunk or b"_" in chunk
        if is_standard and is_url_safe:
            raise ValueError("the two alphabets are mixed")
        yield chunk.translate(_TO_STANDARD_ALPHABET if is_url_safe else None, _WHITE_SPACE)


def _split_padding(chunk: bytes) -> tuple[bytes, bytes]:
    """Split base64 without white space into its digits and its padding."""
    digits, padding, after = chunk.partition(b"=")
    if after.strip(b"="):
        raise ValueError("there are digits after the padding")
    return digits, padding + after

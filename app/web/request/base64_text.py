"""Base64: a text in any spelling of it that clients send becomes the bytes it stands for, slice by slice.

RFC 4648 with either alphabet (4 or 5), with or without padding, with white space anywhere, by itself or in a
data URL (RFC 2397), and with percent escapes. A text that is none of these is refused, and so is one that
mixes the alphabets: what it stands for would be a guess.
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
_TO_PLAIN_ALPHABET = bytes.maketrans(b"-_", b"+/")
_HEAD = re.compile(rb"[ \t\n\r]*data:", re.IGNORECASE)


def decode_base64(text: str | bytes | LongText) -> bytes:
    """Decode base64 in any of its spellings, or a data URL of it.

    Raises:
        MalformedRequest: It is neither.
    """
    decoded = io.BytesIO()  # grows in place and gives its bytes away uncopied
    digits, padding = b"", b""
    try:
        for piece in _in_plain_alphabet(_after_head(_slices_of(text))):
            digits_here, padding_here = _split_padding(piece)
            if padding and digits_here:
                raise ValueError("there is something behind the padding")
            digits, padding = digits + digits_here, (padding + padding_here)[:4]
            whole = max(0, len(digits) // 4 - 1) * 4
            decoded.write(binascii.a2b_base64(digits[:whole], strict_mode=True))
            digits = digits[whole:]
        decoded.write(base64.b64decode(digits + (padding or b"=" * (-len(digits) % 4)), validate=True))
    except ValueError as error:  # binascii.Error and what is not ASCII among them
        raise MalformedRequest("The text is not base64.") from error
    return decoded.getvalue()


def _slices_of(text: str | bytes | LongText) -> Iterator[bytes]:
    if isinstance(text, str):
        return plain_slices(memoryview(re.sub(r"\s", " ", text).encode()))
    if isinstance(text, bytes):
        return plain_slices(memoryview(text))
    return text.slices(text.raw)


def _after_head(slices: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what comes behind the head of a data URL, if there is one, without escapes.

    The head ends within the first slice that holds anything. It is looked for before the escapes are undone,
    as one of its parameters may have a comma, and after that, as all of the URL may be escaped.
    """
    first = next((piece for piece in slices if piece.strip()), b"")
    if _HEAD.match(first):
        yield from unquoted_slices(_chain(_behind_head(first), slices))
        return
    is_first = True
    for piece in unquoted_slices(_chain(first, slices)):
        yield _behind_head(piece) if is_first and _HEAD.match(piece) else piece
        is_first = is_first and not piece


def _chain(first: bytes, slices: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from slices


def _behind_head(piece: bytes) -> bytes:
    head, comma, after = piece.partition(b",")
    if not comma or not head.translate(None, _WHITE_SPACE).lower().endswith(b";base64"):
        raise MalformedRequest("The data URL is not base64.")
    return after


def _in_plain_alphabet(slices: Iterable[bytes]) -> Iterator[bytes]:
    """Yield base64 without white space, in the alphabet of RFC 4648, 4, whichever of the two it came in."""
    is_plain = is_url_safe = False
    for piece in slices:
        is_plain = is_plain or b"+" in piece or b"/" in piece
        is_url_safe = is_url_safe or b"-" in piece or b"_" in piece
        if is_plain and is_url_safe:
            raise ValueError("the two alphabets are mixed")
        yield piece.translate(_TO_PLAIN_ALPHABET if is_url_safe else None, _WHITE_SPACE)


def _split_padding(piece: bytes) -> tuple[bytes, bytes]:
    """Split base64 without white space into its digits and the padding behind them."""
    digits, mark, after = piece.partition(b"=")
    if after.strip(b"="):
        raise ValueError("there is something behind the padding")
    return digits, mark + after

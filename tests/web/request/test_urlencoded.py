import base64
import textwrap
from collections.abc import Callable
from urllib.parse import parse_qsl, quote_from_bytes, quote_plus, unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.web.request.base64_text import decode_base64
from app.web.request.texts import SLICE_BYTES, LongText
from app.web.request.urlencoded import MAX_FIELDS, percent_slices, read_fields, read_urlencoded
from tests.web.peaks import peak_bytes

MANY = 2_000_000


@given(st.lists(st.tuples(st.text(), st.text()), max_size=MAX_FIELDS))
def test_a_form_is_parsed_like_the_standard_library(fields: list[tuple[str, str]]) -> None:
    body = urlencode(fields).encode()

    assert read_urlencoded(body) == parse_qsl(body.decode(), keep_blank_values=True)


@given(st.text("ab+%=&41zé\u0000", max_size=60))
def test_unusual_forms_are_parsed_like_the_standard_library(text: str) -> None:
    try:
        expected = parse_qsl(text.encode().decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        expected = None
    try:
        found = read_urlencoded(text.encode())
    except MalformedRequest:
        found = None

    assert found == expected


@given(st.text("ab+%F41z", min_size=1, max_size=30), st.integers(0, 7))
def test_long_values_are_decoded_in_slices_without_splitting_escapes(pattern: str, offset: int) -> None:
    text = ("x" * offset + pattern * (2 * SLICE_BYTES // len(pattern) + 1)).encode()

    assert b"".join(percent_slices(memoryview(text))) == unquote_to_bytes(text.replace(b"+", b" "))


@pytest.mark.parametrize("size", [3, 900, 100_000])
@pytest.mark.parametrize(
    "spelling",
    {
        "escaped": quote_plus,
        "not escaped": lambda text: text,
        "not escaped, in lines": lambda text: "\n".join(textwrap.wrap(text, 4)),
        "escaped lines": lambda text: quote_plus("\r\n".join(textwrap.wrap(text, 76))),
        "data URL": lambda text: f"data:image/png;base64,{text}",
        "data URL with spaces": lambda text: quote_plus(f" data:image/png; base64, {text}"),
        "escaped but for plus signs": lambda text: quote_plus(f"data:;base64,{text}").replace("%2B", "+"),
        "no padding": lambda text: text.rstrip("="),
    }.values(),
)
def test_an_unescaped_plus_sign_in_base64_is_a_plus_sign(size: int, spelling: Callable[[str], str]) -> None:
    """Clients that do not escape it do not mean a space."""
    picture = (b"\xff\xfb\xef\xbe" * (size // 4 + 1))[: size + 1]
    body = f"format=png&image={spelling(base64.b64encode(picture).decode())}&a+b=c+d"
    first, image, last = read_fields(body.encode())

    assert decode_base64(image.base64) == picture
    assert (first.value, last.name, last.value) == ("png", "a b", "c d")


def test_decoding_a_picture_in_a_form_needs_little_extra_memory() -> None:
    picture = bytes(range(256)) * 16_000
    text = base64.b64encode(picture)
    body = f"size=auto&image_file_b64={quote_plus(text.decode())}&x=%C3%A9".encode()

    def read() -> bytes:
        (_, long_text), *others = read_urlencoded(body)[1:]
        assert isinstance(long_text, LongText)
        assert others == [("x", "é")]
        return decode_base64(long_text)

    assert read() == picture
    assert peak_bytes(read) < len(picture) * 1.25 + 2 * 2**20


@pytest.mark.parametrize(
    "body",
    [
        b"&" * MANY,
        b"a&" * MANY,
        b"a=1&" * MANY,
        b"%41" * MANY,
        b"%41" * MANY + b"=1",
        quote_from_bytes(b"\xff").encode(),
        b"a=%ed%a0%80",
        b"%ff=1",
        b"a=\xc3\xa9",
    ],
    ids=lambda body: repr(body[:8]),
)
def test_a_form_that_is_too_large_or_not_text_is_refused_with_little_memory(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read_urlencoded(body)

    assert peak_bytes(lambda: read_urlencoded(body)) < 2**20


def test_an_unused_long_value_needs_no_memory() -> None:
    body = b"a=" + b"%41" * MANY

    assert peak_bytes(lambda: read_urlencoded(body)) < 2**20

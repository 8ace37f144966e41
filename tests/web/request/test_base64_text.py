"""Every spelling of base64 that clients send, compared with the standard library."""

import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.web.request.base64_text import decode_base64
from app.web.request.texts import LongText, plain_slices
from tests.web.peaks import peak_bytes

BYTES = bytes(range(256)) * 4000


def in_slices(text: bytes, size: int) -> LongText:
    return LongText(
        memoryview(text), lambda raw: (bytes(raw[n : n + size]) for n in range(0, len(raw), size))
    )


def decoded_by_library(text: bytes) -> bytes | None:
    digits = b"".join(text.split())
    if b"=" not in digits:
        digits += b"=" * (-len(digits) % 4)
    altchars = b"-_" if b"-" in digits or b"_" in digits else None
    try:
        return base64.b64decode(digits, altchars=altchars, validate=True)
    except ValueError:
        return None


def decoded_by_app(text: str | bytes | LongText) -> bytes | None:
    try:
        return decode_base64(text)
    except MalformedRequest:
        return None


@given(
    st.one_of(
        st.text("AZaz09+/= \n", max_size=40),
        st.text("AZaz09-_= \n", max_size=40),
        st.binary(max_size=40).map(lambda b: base64.b64encode(b).decode()),
        st.binary(max_size=40).map(lambda b: base64.urlsafe_b64encode(b).decode().rstrip("=")),
    ),
    st.integers(1, 9),
)
@example("AAAA====", 4)
@example("AA=", 3)
@example("AA=\n=", 3)
@example("AAAA=", 4)
@example("====", 1)
@example("AA==AA==", 4)
@example("AAA=A", 4)
def test_decoding_in_slices_gives_the_result_of_the_standard_library(text: str, size: int) -> None:
    expected = decoded_by_library(text.encode())

    assert [expected] * 3 == [
        decoded_by_app(text),
        decoded_by_app(text.encode()),
        decoded_by_app(in_slices(text.encode(), size)),
    ]


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "data:;base64,"])
@pytest.mark.parametrize("white_space", ["", "\r\n", "\t ", "\u00a0\u2028"])
def test_white_space_and_the_prefix_of_a_data_url_are_ignored(head: str, white_space: str) -> None:
    text = base64.b64encode(BYTES[:600]).decode()
    wrapped = white_space.join(text[n : n + 76] for n in range(0, len(text), 76))

    assert decode_base64(head + wrapped) == BYTES[:600]


@pytest.mark.parametrize(
    "text",
    [
        *("data:image/png,AAAA", "data:image/png;base64", "DATA:;BASE64", "data%3A%3Bbase64", "file:,AAAA"),
        *("AA\ud800A", "AAA\u0663", "A+A-", "/_/_", "AAAAA", "AA=", "AAA==", "AA==A", "%4", "%zz%zz"),
        *("hello, world", "<svg/>", "AAA%C3%A9", "base64,AAAA", "AAAA.AAAA", "AA*A", "=AAA"),
    ],
)
def test_a_text_that_is_not_base64_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRequest):
        decode_base64(text)


def test_decoding_needs_little_memory_besides_the_result() -> None:
    text = base64.b64encode(BYTES * 8)
    peak = peak_bytes(lambda: decode_base64(LongText(memoryview(text), plain_slices)))

    assert peak < len(BYTES) * 8 * 1.25 + 2**20


PICTURE = (
    bytes(range(250, 256)) * 20 + bytes(range(256)) * 200 + b"!"
)  # 51,321 bytes, with + and /, and padding
PLAIN = base64.b64encode(PICTURE).decode()
SAFE = base64.urlsafe_b64encode(PICTURE).decode()
SPELLINGS = {
    "plain": PLAIN,
    "lines": base64.encodebytes(PICTURE).decode(),
    "CRLF": PLAIN[:76] + "\r\n" + PLAIN[76:],
    "blanks around": f"  \t{PLAIN}\n\n",
    "no padding": PLAIN.rstrip("="),
    "URL-safe": SAFE,
    "URL-safe, no padding": SAFE.rstrip("="),
    "data URL": f"data:image/jpeg;base64,{PLAIN}",
    "no type": f"data:;base64,{PLAIN}",
    "charset": f"data:image/jpeg;charset=utf-8;base64,{PLAIN}",
    "comma in a parameter": f"data:image/png;name=a%2Cb.png;base64,{PLAIN}",
    "capitals": f"DATA:IMAGE/JPEG;BASE64,{PLAIN}",
    "mixed": f"Data:image/jpeg;Base64,{SAFE}",
    "blank before": f" \n data:image/jpeg;base64,{PLAIN}",
    "blank behind the comma": f"data:image/jpeg;base64, {PLAIN}",
    "blank before base64": f"data:image/jpeg; base64,{PLAIN}",
    "escaped digits": f"data:image/jpeg;base64,{quote(PLAIN, safe='')}",
    "escaped, small": quote(PLAIN, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
    "all escaped": quote(f"data:image/jpeg;base64,{PLAIN}", safe=""),
    "escaped lines": f"data:image/jpeg;base64,{PLAIN[:76]}%0D%0A{PLAIN[76:]}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("form", [str, str.encode, lambda text: in_slices(text.encode(), 1021)])
def test_every_spelling_decodes_to_the_same_bytes(
    spelling: str, form: Callable[[str], str | bytes | LongText]
) -> None:
    assert decode_base64(form(SPELLINGS[spelling])) == PICTURE


@given(st.binary(min_size=1, max_size=60), st.integers(1, 7))
def test_an_escape_may_span_two_slices(picture: bytes, size: int) -> None:
    text = "".join(f"%{digit:02X}" for digit in base64.b64encode(picture))

    assert decode_base64(in_slices(text.encode(), size)) == picture


def test_decoding_escapes_needs_little_memory_besides_the_result() -> None:
    text = b"%41" * 2_000_000
    peak = peak_bytes(lambda: decode_base64(LongText(memoryview(text), plain_slices)))

    assert peak < 1_500_000 * 1.25 + 2 * 2**20

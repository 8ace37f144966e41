import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.web.texts import LongText, decode_base64, plain_slices, read_text, whole_number
from tests.web.peaks import peak_bytes

BYTES = bytes(range(256)) * 4000


def in_slices(text: bytes, size: int) -> LongText:
    return LongText(
        memoryview(text), lambda raw: (bytes(raw[n : n + size]) for n in range(0, len(raw), size))
    )


def by_the_library(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        return None


def by_us(text: str | bytes | LongText) -> bytes | None:
    try:
        return decode_base64(text)
    except MalformedRequest:
        return None


@given(
    st.one_of(
        st.text("AZaz09+/= \n", max_size=40),
        st.binary(max_size=40).map(lambda b: base64.b64encode(b).decode()),
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
def test_slices_are_decoded_as_the_library_decodes_the_whole(text: str, size: int) -> None:
    expected = by_the_library(text.encode())

    assert [expected] * 3 == [by_us(text), by_us(text.encode()), by_us(in_slices(text.encode(), size))]


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "data:;base64,"])
@pytest.mark.parametrize("white_space", ["", "\r\n", "\t ", "\u00a0\u2028"])
def test_white_space_and_the_head_of_a_data_url_are_passed_over(head: str, white_space: str) -> None:
    text = base64.b64encode(BYTES[:600]).decode()
    wrapped = white_space.join(text[n : n + 76] for n in range(0, len(text), 76))

    assert decode_base64(head + wrapped) == BYTES[:600]


@pytest.mark.parametrize(
    "text", ["data:image/png,AAAA", "data:image/png;base64", "AA\ud800A", "AAA\u0663", "AA-_"]
)
def test_what_is_no_base64_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRequest):
        decode_base64(text)


def test_decoding_holds_little_beside_what_comes_out() -> None:
    text = base64.b64encode(BYTES * 8)
    peak = peak_bytes(lambda: decode_base64(LongText(memoryview(text), plain_slices)))

    assert peak < len(BYTES) * 8 * 1.25 + 2**20


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(
            ("0", 0),
            ("007", 7),
            ("10", 10),
            ("11", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1 ", None),
        ),
        *(("0" * 21, None), ("9" * 5000, None), ("٣", None), ("²", None), ("1_0", None), ("1.0", None)),
    ],
)
def test_a_whole_number_has_few_digits(text: str, number: int | None) -> None:
    assert whole_number(text, most=10) == number


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"a\x80", b"\xf4\x90\x80\x80"])
def test_what_is_no_unicode_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read_text(raw, "This")

import pytest

from app.errors import MalformedRequest
from app.web.request.texts import read_text, whole_number


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
def test_whole_numbers_have_at_most_20_ascii_digits(text: str, number: int | None) -> None:
    assert whole_number(text, maximum=10) == number


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"a\x80", b"\xf4\x90\x80\x80"])
def test_bytes_that_are_not_utf_8_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read_text(raw, "This")

from collections.abc import Callable, Iterator

import pytest

from app.errors import MalformedRequest
from app.web.request.json_body import json_slices
from app.web.request.percent import unquoted_slices
from app.web.request.texts import SLICE_BYTES, plain_slices, read_text, whole_number


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


@pytest.mark.parametrize("unit", [b"QUJD", b"QUJD\\n", b"\\/", b"\\u002b", b"%2B", "é".encode()])
@pytest.mark.parametrize(
    "slices",
    [plain_slices, json_slices, lambda raw: unquoted_slices(plain_slices(raw))],
    ids=["plain", "json", "unquoted"],
)
def test_a_long_text_is_decoded_in_slices_of_bounded_size(
    unit: bytes, slices: Callable[[memoryview], Iterator[bytes]]
) -> None:
    """Each slice is one call that holds the interpreter's lock, for which the event loop waits."""
    sizes = [len(chunk) for chunk in slices(memoryview(unit * (5 * SLICE_BYTES // len(unit))))]

    assert max(sizes) <= 2 * SLICE_BYTES  # "é" is read as two characters, which become four bytes
    assert len(sizes) >= 5

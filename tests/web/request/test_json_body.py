import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.web.request.json_body import MAX_REMAINDER_BYTES, NumberText, json_slices, read_json
from app.web.request.texts import LONG_BYTES, SLICE_BYTES, LongText
from tests.web.peaks import peak_bytes

MANY = 2_000_000


def complete(value: object) -> object:
    """Return the complete value of a member that may have been extracted."""
    if isinstance(value, LongText):
        return b"".join(value.slices(value.raw)).decode()
    return json.loads(bytes(value.raw)) if isinstance(value, NumberText) else value


def members_of(body: bytes, **how: Any) -> dict[str, object]:
    return {name: complete(value) for name, value in read_json(body, **how).items()}


simple = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    simple, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@given(st.dictionaries(st.text(), values), st.booleans(), st.sampled_from([None, 2]))
def test_a_small_document_is_parsed_like_the_standard_library(
    document: dict[str, object], ascii_: bool, indent: int
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_, indent=indent).encode("utf-8")

    assert read_json(body) == document


@given(
    st.lists(st.sampled_from(["a", "/", "+", "\n", "\\", "\u0001", "é", "ab" * 9]), min_size=1),
    st.integers(1, 3),
)
def test_a_long_text_stays_in_the_body_and_decodes_in_slices(pattern: list[str], ends: int) -> None:
    text = "".join(pattern)
    text = (text * (SLICE_BYTES // len(text) + 2))[: SLICE_BYTES + ends]
    body = json.dumps({"x": 1, "image": text, "y": "z"})
    document = read_json(body.encode())
    long_text = document.pop("image")

    assert document == {"x": 1, "y": "z"}
    assert isinstance(long_text, LongText)
    if text.isascii():
        assert b"".join(json_slices(long_text.raw)).decode() == text


@pytest.mark.parametrize("offset", range(8))
@pytest.mark.parametrize("escape", [r"\/", r"\n", r"\u002b", r"\u002B", r"\\", r"\"", r"\\\/", "+"])
def test_a_slice_does_not_split_an_escape(escape: str, offset: int) -> None:
    text = "A" * (SLICE_BYTES - 8 + offset) + escape * 30_000 + "A"

    assert b"".join(json_slices(memoryview(text.encode()))) == json.loads(f'"{text}"').encode()


def test_number_arrays_are_extracted_by_name_and_unchanged() -> None:
    body = b'{"id": "data", "inputs": [{"data" : [[1, 2],\n[3,4]] , "x": [5]}], "data": [7]}'
    document = read_json(body, numbers="data")
    inputs = document["inputs"]

    assert isinstance(inputs, list)
    assert (document["id"], inputs[0]["x"]) == ("data", [5])
    assert bytes(inputs[0]["data"].raw) == b"[[1, 2],\n[3,4]]"
    assert complete(document["data"]) == [7]


REFUSED = {
    "lists": b'{"a":[' + b"[]," * MANY + b"[]]}",
    "objects": b'{"a":[' + b"{}," * MANY + b"{}]}",
    "few kilobytes of lists": b'{"a":[' + b"[]," * 3000 + b"[]]}",
    "deep lists": b'{"a":' + b"[" * MANY,
    "numbers": b'{"a":[' + b"1," * MANY + b"1]}",
    "short texts": b'{"a":[' + b'"",' * MANY + b'""]}',
    "names": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
    "escaped quotes": b'{"a":"' + b'\\"' * MANY + b'"}',
    "escaped quotes in short texts": b'{"a":[' + b'"\\"",' * MANY + b'""]}',
    "a text without an end": b'{"a":"' + b"A" * MANY,
    "an escape at the end": b'{"a":"' + b"\\" * (MANY + 1) + b'"}',
    "white space": b'{"a":' + b" " * MANY + b"1}",
    "one number": b'{"a":' + b"1" * MANY + b"}",
    "many long texts": b'{"a":[' + (b'"' + b"A" * LONG_BYTES + b'",') * 70 + b"1]}",
    "a long name": b'{"' + b"A" * MANY + b'":1}',
    "a long text in a list": b'{"a":["' + b"A" * MANY + b'"]}',
    "two long texts of one name": (b'{"a":"' + b"A" * MANY + b'","a":"' + b"A" * MANY + b'"}'),
    "numbers that are none": b'{"data":[' + b"1," * MANY + b"x]}",
    "numbers without an end": b'{"data":[' + b"1," * MANY,
    "brackets without an end": b'{"data":' + b"[" * MANY,
    "white space for numbers": b'{"data":[1' + b" " * MANY + b"}",
    "constants": b'{"a":NaN}',
    "half a pair": rb'{"a":"\ud800"}',
    "half a pair in a name": rb'{"\uDFFF":1}',
    "half a pair below": rb'{"a":[{"b":["\ud800x"]}]}',
    "halves in the wrong order": rb'{"a":"\udc00\ud800"}',
    "no Unicode": b'{"a":"\xed\xa0\x80"}',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_body_that_would_need_much_memory_is_refused_before_parsing(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read_json(body, numbers="data")

    assert peak_bytes(lambda: read_json(body, numbers="data")) < 40 * MAX_REMAINDER_BYTES


@given(st.binary(max_size=60), st.integers(0, 2))
@example(b'\\"', 1)
def test_random_bytes_are_malformed_or_a_document(junk: bytes, wraps: int) -> None:
    body = (b'{"data":[' * wraps) + junk + (b"]}" * wraps)
    try:
        expected = json.loads(body.decode("utf-8"), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        expected = None
    try:
        found = members_of(body)
    except MalformedRequest:
        found = None
    with suppress(MalformedRequest, ValueError):
        members_of(body, numbers="data")

    assert found is None or found == expected


def test_a_surrogate_pair_is_one_character() -> None:
    assert read_json(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}

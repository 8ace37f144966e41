import asyncio
import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from app.web.sliced_response import SLICE_BYTES, Base64, Numbers, SlicedResponse, json_response


def sent_by(response: SlicedResponse) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        raise AssertionError("a response does not receive")

    asyncio.run(response({"type": "http"}, receive, send))
    return messages


@given(st.integers(1, 5 * SLICE_BYTES))
def test_the_slices_make_up_the_body(length: int) -> None:
    body = bytes(index % 251 for index in range(997)) * (length // 997 + 1)
    start, *slices = sent_by(SlicedResponse(body[:length], media_type="image/png"))

    assert dict(start["headers"])[b"content-length"] == str(length).encode()
    assert b"".join(each["body"] for each in slices) == body[:length]
    assert max(len(each["body"]) for each in slices) <= SLICE_BYTES
    assert [each["more_body"] for each in slices] == [True] * (len(slices) - 1) + [False]


@pytest.mark.parametrize("length", [1, SLICE_BYTES, SLICE_BYTES + 1])
def test_the_number_of_slices_is_minimal(length: int) -> None:
    _, *slices = sent_by(SlicedResponse(bytes(length)))

    assert len(slices) == -(-length // SLICE_BYTES)


@given(st.binary(max_size=50), st.integers(0, 3), st.text(max_size=5))
def test_a_document_with_large_members_is_encoded_like_plain_json(
    start: bytes, times: int, text: str
) -> None:
    content = start + bytes(times * SLICE_BYTES)
    document = {"a": text, "b": {"c": Base64(content), "d": [1.5, None]}, "e": Base64(b"xy")}
    begin, *slices = sent_by(json_response(document, headers={"X-Y": "z"}))
    body = b"".join(each["body"] for each in slices)
    plain = {"a": text, "b": {"c": base64.b64encode(content).decode(), "d": [1.5, None]}, "e": "eHk="}

    assert body == json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    assert dict(begin["headers"])[b"content-length"] == str(len(body)).encode()
    assert (dict(begin["headers"])[b"content-type"], dict(begin["headers"])[b"x-y"]) == (
        b"application/json",
        b"z",
    )
    assert max(len(each["body"]) for each in slices) <= SLICE_BYTES


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 50, 50), (1, 4096), (4097,)])
def test_an_array_is_encoded_as_a_flat_list(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape, np.float32)
    begin, *slices = sent_by(json_response({"a": [{"data": Numbers(values), "b": 1}]}))
    body = b"".join(each["body"] for each in slices)

    assert json.loads(body) == {"a": [{"data": values.ravel().tolist(), "b": 1}]}
    assert b"content-length" not in dict(begin["headers"])  # unknown before encoding
    assert max(len(each["body"]) for each in slices) <= SLICE_BYTES


def test_contents_are_sent_in_order() -> None:
    begin, *slices = sent_by(SlicedResponse(b"a", bytes(SLICE_BYTES + 1), b"", b"c"))

    assert [len(each["body"]) for each in slices] == [1, SLICE_BYTES, 1, 1]
    assert dict(begin["headers"])[b"content-length"] == str(SLICE_BYTES + 3).encode()


def test_an_empty_response_is_complete() -> None:
    assert [each["more_body"] for each in sent_by(SlicedResponse(b""))[1:]] == [False]

import asyncio
import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from app.web.sliced_response import PIECE_BYTES, Base64, Numbers, SlicedResponse, json_response


def sent_by(response: SlicedResponse) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        raise AssertionError("an answer asks for nothing")

    asyncio.run(response({"type": "http"}, receive, send))
    return messages


@given(st.integers(1, 5 * PIECE_BYTES))
def test_the_pieces_are_the_body(length: int) -> None:
    body = bytes(index % 251 for index in range(997)) * (length // 997 + 1)
    start, *pieces = sent_by(SlicedResponse(body[:length], media_type="image/png"))

    assert dict(start["headers"])[b"content-length"] == str(length).encode()
    assert b"".join(piece["body"] for piece in pieces) == body[:length]
    assert max(len(piece["body"]) for piece in pieces) <= PIECE_BYTES
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]


@pytest.mark.parametrize("length", [1, PIECE_BYTES, PIECE_BYTES + 1])
def test_there_are_no_more_pieces_than_needed(length: int) -> None:
    _, *pieces = sent_by(SlicedResponse(bytes(length)))

    assert len(pieces) == -(-length // PIECE_BYTES)


@given(st.binary(max_size=50), st.integers(0, 3), st.text(max_size=5))
def test_a_document_with_large_members_is_the_json_of_it(start: bytes, times: int, text: str) -> None:
    content = start + bytes(times * PIECE_BYTES)
    document = {"a": text, "b": {"c": Base64(content), "d": [1.5, None]}, "e": Base64(b"xy")}
    begin, *pieces = sent_by(json_response(document, headers={"X-Y": "z"}))
    body = b"".join(piece["body"] for piece in pieces)
    plain = {"a": text, "b": {"c": base64.b64encode(content).decode(), "d": [1.5, None]}, "e": "eHk="}

    assert body == json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    assert dict(begin["headers"])[b"content-length"] == str(len(body)).encode()
    assert (dict(begin["headers"])[b"content-type"], dict(begin["headers"])[b"x-y"]) == (
        b"application/json",
        b"z",
    )
    assert max(len(piece["body"]) for piece in pieces) <= PIECE_BYTES


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 50, 50), (1, 4096), (4097,)])
def test_an_array_leaves_as_a_flat_list_of_its_numbers(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape, np.float32)
    begin, *pieces = sent_by(json_response({"a": [{"data": Numbers(values), "b": 1}]}))
    body = b"".join(piece["body"] for piece in pieces)

    assert json.loads(body) == {"a": [{"data": values.ravel().tolist(), "b": 1}]}
    assert b"content-length" not in dict(begin["headers"])  # nobody knows it yet
    assert max(len(piece["body"]) for piece in pieces) <= PIECE_BYTES


def test_parts_are_sent_one_after_the_other() -> None:
    begin, *pieces = sent_by(SlicedResponse(b"a", bytes(PIECE_BYTES + 1), b"", b"c"))

    assert [len(piece["body"]) for piece in pieces] == [1, PIECE_BYTES, 1, 1]
    assert dict(begin["headers"])[b"content-length"] == str(PIECE_BYTES + 3).encode()


def test_an_empty_answer_has_an_end() -> None:
    assert [piece["more_body"] for piece in sent_by(SlicedResponse(b""))[1:]] == [False]

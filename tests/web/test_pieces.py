import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from app.web.pieces import PIECE_BYTES, PiecewiseResponse


def sent_by(response: PiecewiseResponse) -> list[Message]:
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
    start, *pieces = sent_by(PiecewiseResponse(body[:length], media_type="image/png"))

    assert dict(start["headers"])[b"content-length"] == str(length).encode()
    assert b"".join(piece["body"] for piece in pieces) == body[:length]
    assert max(len(piece["body"]) for piece in pieces) <= PIECE_BYTES
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]


@pytest.mark.parametrize("length", [1, PIECE_BYTES, PIECE_BYTES + 1])
def test_there_are_no_more_pieces_than_needed(length: int) -> None:
    _, *pieces = sent_by(PiecewiseResponse(bytes(length)))

    assert len(pieces) == -(-length // PIECE_BYTES)

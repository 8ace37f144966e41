"""Bodies in chunks of every size, as a server on a real socket reads them."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

import h11
import pytest

from app.web.strict_http import MANY_CHUNKS, MEAN_CHUNK_BYTES, SLICE_LINES, StrictConnection, slice_end
from tests.web.test_connection import GET, Entrance, all_of, enter, one_answer

__all__ = ["enter"]
HEAD = b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def chunked(count: int, size: int) -> bytes:
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count


def bodies_of(received: bytes) -> list[bytes]:
    return [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 200 OK")[1:]]


@pytest.mark.parametrize(
    ("count", "size"), [(MANY_CHUNKS, 1), (30_000, MEAN_CHUNK_BYTES), (4000, 1024), (200, 10_000), (1, 10**6)]
)
@pytest.mark.parametrize("sent_bytes", [None, 1000, 70_001])
def test_chunks_are_read_in_order_whatever_their_size(
    enter: Callable[..., Entrance], count: int, size: int, sent_bytes: int | None
) -> None:
    here = enter(head_s=20, write_s=20)
    client = here.connect()
    sent = (
        HEAD
        + b"\r\n"
        + chunked(count, size)
        + END
        + GET
        + GET
        + HEAD
        + b"Connection: close\r\n\r\n"
        + chunked(3, 3)
        + END
    )
    for start in range(0, len(sent), sent_bytes or len(sent)):
        client.sendall(sent[start : start + (sent_bytes or len(sent))])

    assert bodies_of(all_of(client)) == [str(count * size).encode(), b"0", b"0", b"9"]
    assert not here.closed


@pytest.mark.parametrize("size", [1, 7, MEAN_CHUNK_BYTES - 1])
@pytest.mark.parametrize("before", [b"", GET * 40, HEAD + b"\r\n" + chunked(500, 1) + END])
def test_a_body_in_many_tiny_chunks_is_refused(
    enter: Callable[..., Entrance], size: int, before: bytes
) -> None:
    here = enter(head_s=20)
    received = here.last_answer_to(before + HEAD + b"\r\n" + chunked(200_000 // (size + 5), size))

    assert received.count(b"HTTP/1.1 400 ") == 1
    assert received.count(b"HTTP/1.1 200 ") == len(before.split(b" HTTP/1.1")) - 1
    assert here.closed == {"malformed-request": 1}


def test_tiny_chunks_that_nobody_reads_end_the_connection(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD.replace(b"/read", b"/ignore") + b"\r\n")
    answer = one_answer(client)
    with suppress(ConnectionError):
        client.sendall(chunked(50_000, 1))
    all_of(client)

    assert b"200 OK" in answer
    assert here.closed == {"malformed-request": 1}


def test_the_chunks_of_each_request_are_counted_for_themselves(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    client = here.connect()
    for _ in range(4):
        client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1) + END)
        assert one_answer(client).endswith(str(MANY_CHUNKS - 1).encode())


def test_many_requests_at_once_are_answered_in_their_order(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20, write_s=20)
    client = here.connect()
    paths = [f"/read{number}" for number in range(500)]
    sent = b"".join(GET.replace(b"/read", path.encode()) for path in paths)
    client.sendall(sent + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET * 100)
    received = all_of(client)

    assert here.asked == [*paths, "/read"]
    assert received.count(b"200 OK") == 501


def test_who_leaves_in_the_middle_of_many_chunks_is_gone(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1))
    client.close()
    until_s = time.monotonic() + 20
    while not here.departed and time.monotonic() < until_s:
        time.sleep(0.01)

    assert here.departed == 1


def test_who_ends_its_side_after_many_chunks_was_read_to_the_end(enter: Callable[..., Entrance]) -> None:
    """The end of what a client sends is seen after what came before it, as ever."""
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1))
    client.shutdown(socket.SHUT_WR)
    all_of(client)

    assert (here.asked, here.departed) == (["/read"], 1)


def test_a_refused_head_behind_many_requests_is_refused(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    received = here.last_answer_to(GET * 60 + HEAD + b"Content-Length: 5\r\n\r\n" + chunked(100, 1))

    assert (received.count(b"200 OK"), received.count(b"HTTP/1.1 400 ")) == (60, 1)


@pytest.mark.parametrize(
    "received", [b"", b"\r\n", b"x" * 10_000, b"1\r\nx\r\n" * 10_000, b"\r\n" * 65, b"\n\r" * 500]
)
def test_a_slice_has_few_lines_and_ends_behind_one(received: bytes) -> None:
    slices, rest = [], received
    while rest:
        slices.append(rest[: slice_end(rest)])
        rest = rest[len(slices[-1]) :]

    assert b"".join(slices) == received
    assert all(piece.count(b"\r\n") <= SLICE_LINES for piece in slices)
    assert all(piece.endswith(b"\r\n") for piece in slices[:-1])


def test_a_chunk_that_comes_in_parts_is_one() -> None:
    counter = StrictConnection(h11.SERVER)
    counter.receive_data(HEAD + b"\r\n1388\r\n")
    events = [counter.next_event()]
    for _ in range(5000):
        counter.receive_data(b"x")
        events.append(counter.next_event())

    assert sum(isinstance(event, h11.Data) for event in events) == 5000


@pytest.mark.parametrize("body", [chunked(40, 5) + END, chunked(1, 5) + END])
def test_a_head_behind_a_body_that_nobody_reads_is_looked_at_too(
    enter: Callable[..., Entrance], body: bytes
) -> None:
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD.replace(b"/read", b"/ignore") + b"\r\n")
    one_answer(client)
    client.sendall(body + HEAD + b"Content-Length: 5\r\n\r\n" + END)
    received = all_of(client)

    assert received.startswith(b"HTTP/1.1 400 ")
    assert here.asked == ["/ignore"]

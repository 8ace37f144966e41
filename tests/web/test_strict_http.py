"""Bodies in chunks of every size, as a server on a real socket reads them."""

import socket
import time
from collections.abc import Callable

import h11
import pytest

from app.web.strict_http import (
    MANY_CHUNKS,
    MAX_HEAD_LINES,
    MEAN_CHUNK_BYTES,
    SLICE_LINES,
    HeadRefused,
    StrictConnection,
    slice_end,
)
from tests.web.entrance import GET, Entrance, all_of, one_response, wait_until

HEAD = b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def chunked(count: int, size: int) -> bytes:
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count


def bodies_of(received: bytes) -> list[bytes]:
    return [response.partition(b"\r\n\r\n")[2] for response in received.split(b"HTTP/1.1 200 OK")[1:]]


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
    received = here.last_response_to(before + HEAD + b"\r\n" + chunked(200_000 // (size + 5), size))

    assert received.count(b"HTTP/1.1 400 ") == 1
    assert received.count(b"HTTP/1.1 200 ") == len(before.split(b" HTTP/1.1")) - 1
    assert here.closed == {"malformed-request": 1}


def test_the_chunks_of_each_request_are_counted_for_themselves(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    client = here.connect()
    for _ in range(4):
        client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1) + END)
        assert one_response(client).endswith(str(MANY_CHUNKS - 1).encode())


def test_many_requests_at_once_are_answered_in_their_order(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20, write_s=20)
    client = here.connect()
    paths = [f"/read{number}" for number in range(500)]
    sent = b"".join(GET.replace(b"/read", path.encode()) for path in paths)
    client.sendall(sent + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET * 100)
    received = all_of(client)

    assert here.asked == [*paths, "/read"]
    assert received.count(b"200 OK") == 501


@pytest.mark.parametrize("between", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_line_break_before_a_request_is_passed_over(
    enter: Callable[..., Entrance], between: bytes, size: int
) -> None:
    """Some clients end a body with one that they do not count (RFC 9112, 2.2)."""
    here = enter(head_s=20)
    client = here.connect()
    sent = between + HEAD + b"\r\n" + chunked(2, 5) + END + between + GET + between
    for start in range(0, len(sent), size):
        client.sendall(sent[start : start + size])
    client.shutdown(socket.SHUT_WR)

    assert all_of(client).count(b"HTTP/1.1 200 OK") == 2
    assert not here.closed


@pytest.mark.parametrize("before", [b"\r\n" * 3, b"\n", b"\r", b"\r\r\n", b" \r\n"])
def test_other_space_before_a_request_is_refused(enter: Callable[..., Entrance], before: bytes) -> None:
    assert enter(head_s=20).last_response_to(before + GET).startswith(b"HTTP/1.1 400 ")


def test_who_leaves_in_the_middle_of_many_chunks_is_gone(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1))
    client.close()
    until_s = time.monotonic() + 20
    while not here.disconnected and time.monotonic() < until_s:
        time.sleep(0.01)

    assert here.disconnected == 1


def test_who_ends_its_side_after_many_chunks_was_read_to_the_end(enter: Callable[..., Entrance]) -> None:
    """The end of what a client sends is seen after what came before it, as ever."""
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1))
    client.shutdown(socket.SHUT_WR)
    all_of(client)
    wait_until(lambda: here.disconnected == 1)

    assert here.asked == ["/read"]


def test_a_refused_head_behind_many_requests_is_refused(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    received = here.last_response_to(GET * 60 + HEAD + b"Content-Length: 5\r\n\r\n" + chunked(100, 1))

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


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\nX: a\n\n",
        b"0\r\n\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\nX: a\r\n\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nX: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\n" + b"X: a\r\n" * (MAX_HEAD_LINES + 70) + b"\r\n",
        b"0\r\nX: a\r\n folded\r\n\r\n",
        b"1;a\rb\r\nx\r\n0\r\n\r\n",
    ],
)
def test_what_ends_a_body_for_one_reader_alone_ends_the_connection(
    enter: Callable[..., Entrance], end: bytes
) -> None:
    """A proxy that waits for another end would take what follows for the body, and here it is a request."""
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(HEAD + b"\r\n" + chunked(2, 5) + end + GET)

    assert b"HTTP/1.1 200 OK" not in all_of(client)
    assert here.asked.count("/read") <= 1


@pytest.mark.parametrize("end", [END, b"0;name=value\r\n\r\n", b"000\r\n\r\n"])
@pytest.mark.parametrize("piece", [1, 2, 5, 10_000])
def test_a_body_that_ends_for_everybody_is_read(
    enter: Callable[..., Entrance], end: bytes, piece: int
) -> None:
    here = enter(head_s=20)
    client = here.connect()
    sent = HEAD + b"Connection: close\r\n\r\n" + chunked(2, 5) + end
    for start in range(0, len(sent), piece):
        client.sendall(sent[start : start + piece])

    assert bodies_of(all_of(client)) == [b"10"]


def test_a_large_chunk_does_not_pay_for_thousands_of_tiny_ones(enter: Callable[..., Entrance]) -> None:
    client = enter(head_s=20).connect()
    client.sendall(HEAD + b"\r\n" + chunked(1, 500_000) + chunked(2 * MANY_CHUNKS, 1) + END)

    assert b"HTTP/1.1 400" in one_response(client)


@pytest.mark.parametrize(("headers", "status"), [(MAX_HEAD_LINES - 2, 200), (MAX_HEAD_LINES + 1, 431)])
def test_a_head_has_no_more_lines_than_anybody_needs(
    enter: Callable[..., Entrance], headers: int, status: int
) -> None:
    here = enter(head_s=20)
    head = b"GET /read HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
    sent = head + b"a:b\r\n" * (headers - 2) + b"\r\n"

    assert b"HTTP/1.1 %d" % status in here.last_response_to(sent)


TRAILERS = {
    "one": (b"X-Checksum: 1\r\n", True),
    "several": (b"X-Checksum: 1\r\nServer-Timing: a;dur=1\r\n" * 20, True),
    "line feeds alone": (b"X-Checksum: 1\nX: 2\r\n", False),
    "a folded line": (b"X-Checksum: 1\r\n 2\r\n", False),
    "no field": (b"X-Checksum\r\n", False),
    "too many": (b"X: 1\r\n" * (MAX_HEAD_LINES + 1), False),
}


@pytest.mark.parametrize(("trailer", "is_read"), TRAILERS.values(), ids=TRAILERS)
@pytest.mark.parametrize("extension", [b"", b";x=1", b';name="a;b"'])
def test_fields_behind_the_last_chunk_are_read_like_a_head(
    enter: Callable[..., Entrance], trailer: bytes, extension: bytes, *, is_read: bool
) -> None:
    """RFC 9112, 7.1: a server may ignore both chunk extensions and trailer fields."""
    here = enter(head_s=20)
    client = here.connect()
    last = b"0\r\n" + trailer + b"\r\n"
    client.sendall(HEAD + b"\r\n4" + extension + b"\r\nabcd\r\n" + last)

    assert one_response(client).startswith(b"HTTP/1.1 200 " if is_read else b"HTTP/1.1 400 ")


@pytest.mark.parametrize("second", [GET, GET.replace(b"1.1", b"2.0"), GET.replace(b"\r\nHost", b"\nHost")])
def test_nothing_is_answered_behind_a_body_that_was_overtaken(
    enter: Callable[..., Entrance], second: bytes
) -> None:
    """Its answer said that it is the connection's last."""
    here = enter(head_s=20)
    client = here.connect()
    client.sendall(b"POST /ignore HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nhalf-")
    first = one_response(client)
    client.sendall(b"other" + second)

    assert b"HTTP/1.1 200" in first
    assert b"connection: close" in first.lower()
    assert all_of(client) == b""
    assert here.asked == ["/ignore"]


@pytest.mark.parametrize("fields", [b"X-Checksum: 1\r\n", b"X: a\r\nY: b\r\n"])
@pytest.mark.parametrize("piece", [1, 10_000])
def test_fields_behind_a_body_are_dropped_and_its_answer_is_the_last(
    enter: Callable[..., Entrance], fields: bytes, piece: int
) -> None:
    here = enter(head_s=20)
    client = here.connect()
    sent = HEAD + b"\r\n" + chunked(2, 5) + b"0;x=1\r\n" + fields + b"\r\n" + GET
    for start in range(0, len(sent), piece):
        client.sendall(sent[start : start + piece])
    received = all_of(client)

    assert bodies_of(received) == [b"10"]
    assert b"\r\nconnection: close\r\n" in received.lower()
    assert here.asked == ["/read"]


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/read?x=1", "/read?x=1", "here"),
        (b"http://there.example/read", "/read", "there.example"),
        (b"HTTP://there.example:8080/read?x=http://y", "/read?x=http://y", "there.example:8080"),
        (b"https://[::1]:8443/a%20b/c", "/a%20b/c", "[::1]:8443"),
        (b"http://there.example", "/", "there.example"),
        (b"http://there.example?x=1", "/?x=1", "there.example"),
        (b"//there.example/read", "//there.example/read", "here"),
        (b"/http://there.example/", "/http://there.example/", "here"),
        (b"*", "*", "here"),
    ],
)
def test_the_target_of_a_request_may_be_a_whole_url(target: bytes, path: str, host: str) -> None:
    connection = StrictConnection(h11.SERVER)
    connection.receive_data(b"GET %s HTTP/1.1\r\nX: 1\r\nHost: here\r\n\r\n" % target)
    request = connection.next_event()

    assert isinstance(request, h11.Request)
    assert request.target.decode() == path
    assert dict(request.headers) == {b"host": host.encode(), b"x": b"1"}


@pytest.mark.parametrize(
    "target", [b"http:///read", b"ftp://here/read", b"http:", b"http://a@b/", b"http://a/#b"]
)
def test_a_target_that_is_a_url_of_nothing_here_is_refused(target: bytes) -> None:
    connection = StrictConnection(h11.SERVER)
    connection.receive_data(b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % target)
    with pytest.raises(HeadRefused):
        connection.next_event()

    assert connection.refused is not None
    assert connection.refused.kind.status == 400


def test_an_offer_of_another_protocol_is_passed_over_in_silence(
    enter: Callable[..., Entrance], caplog: pytest.LogCaptureFixture
) -> None:
    """Java's HttpClient offers HTTP/2 with each request."""
    here = enter(head_s=20)
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAI\r\n\r\n"
    response = one_response_to(here, GET[:-2] + offer)

    assert b"HTTP/1.1 200 OK" in response
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def one_response_to(here: Entrance, sent: bytes) -> bytes:
    client = here.connect()
    client.sendall(sent)
    return one_response(client)

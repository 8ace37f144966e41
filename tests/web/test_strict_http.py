"""Chunks, heads and request targets, mostly on a real socket."""

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
from tests.web.chunked import END, HEAD, bodies_of, chunked
from tests.web.stub_server import GET, StubServer, read_response, read_until_closed, wait_until


@pytest.mark.parametrize(
    ("count", "size"), [(MANY_CHUNKS, 1), (30_000, MEAN_CHUNK_BYTES), (4000, 1024), (200, 10_000), (1, 10**6)]
)
@pytest.mark.parametrize("sent_bytes", [None, 1000, 70_001])
def test_chunks_of_every_size_are_read_in_order(
    start_server: Callable[..., StubServer], count: int, size: int, sent_bytes: int | None
) -> None:
    server = start_server(head_s=20, write_s=20)
    client = server.connect()
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

    assert bodies_of(read_until_closed(client)) == [str(count * size).encode(), b"0", b"0", b"9"]
    assert not server.closed


@pytest.mark.parametrize("size", [1, 7, MEAN_CHUNK_BYTES - 1])
@pytest.mark.parametrize("before", [b"", GET * 40, HEAD + b"\r\n" + chunked(500, 1) + END])
def test_a_body_in_many_tiny_chunks_is_refused(
    start_server: Callable[..., StubServer], size: int, before: bytes
) -> None:
    server = start_server(head_s=20)
    received = server.exchange(before + HEAD + b"\r\n" + chunked(200_000 // (size + 5), size))

    assert received.count(b"HTTP/1.1 400 ") == 1
    assert received.count(b"HTTP/1.1 200 ") == len(before.split(b" HTTP/1.1")) - 1
    assert server.closed == {"malformed-request": 1}


def test_chunks_are_counted_for_each_request_separately(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    for _ in range(4):
        client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1) + END)
        assert read_response(client).endswith(str(MANY_CHUNKS - 1).encode())


def test_pipelined_requests_are_served_in_order(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20, write_s=20)
    client = server.connect()
    paths = [f"/read{number}" for number in range(500)]
    sent = b"".join(GET.replace(b"/read", path.encode()) for path in paths)
    client.sendall(sent + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET * 100)
    received = read_until_closed(client)

    assert server.paths == [*paths, "/read"]
    assert received.count(b"200 OK") == 501


@pytest.mark.parametrize("between", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_line_break_before_a_request_is_ignored(
    start_server: Callable[..., StubServer], between: bytes, size: int
) -> None:
    """Some clients send one after a body without counting it (RFC 9112, 2.2)."""
    server = start_server(head_s=20)
    client = server.connect()
    sent = between + HEAD + b"\r\n" + chunked(2, 5) + END + between + GET + between
    for start in range(0, len(sent), size):
        client.sendall(sent[start : start + size])
    client.shutdown(socket.SHUT_WR)

    assert read_until_closed(client).count(b"HTTP/1.1 200 OK") == 2
    assert not server.closed


@pytest.mark.parametrize("before", [b"\r\n" * 3, b"\n", b"\r", b"\r\r\n", b" \r\n"])
def test_other_space_before_a_request_is_refused(
    start_server: Callable[..., StubServer], before: bytes
) -> None:
    assert start_server(head_s=20).exchange(before + GET).startswith(b"HTTP/1.1 400 ")


def test_a_disconnect_between_chunks_is_detected(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1))
    client.close()
    until_s = time.monotonic() + 20
    while not server.disconnects and time.monotonic() < until_s:
        time.sleep(0.01)

    assert server.disconnects == 1


def test_a_half_close_between_chunks_is_detected_after_all_chunks(
    start_server: Callable[..., StubServer],
) -> None:
    """The server processes the half-close after all bytes before it."""
    server = start_server(head_s=20)
    client = server.connect()
    client.sendall(HEAD + b"\r\n" + chunked(MANY_CHUNKS - 1, 1))
    client.shutdown(socket.SHUT_WR)
    read_until_closed(client)
    wait_until(lambda: server.disconnects == 1)

    assert server.paths == ["/read"]


def test_an_invalid_head_after_many_requests_is_refused(start_server: Callable[..., StubServer]) -> None:
    server = start_server(head_s=20)
    received = server.exchange(GET * 60 + HEAD + b"Content-Length: 5\r\n\r\n" + chunked(100, 1))

    assert (received.count(b"200 OK"), received.count(b"HTTP/1.1 400 ")) == (60, 1)


@pytest.mark.parametrize(
    "received", [b"", b"\r\n", b"x" * 10_000, b"1\r\nx\r\n" * 10_000, b"\r\n" * 65, b"\n\r" * 500]
)
def test_a_slice_has_few_lines_and_ends_after_a_line(received: bytes) -> None:
    slices, rest = [], received
    while rest:
        slices.append(rest[: slice_end(rest)])
        rest = rest[len(slices[-1]) :]

    assert b"".join(slices) == received
    assert all(each.count(b"\r\n") <= SLICE_LINES for each in slices)
    assert all(each.endswith(b"\r\n") for each in slices[:-1])


def test_a_body_of_known_length_is_one_slice_and_what_follows_it_is_not() -> None:
    lines = b"\r\n" * 10 * SLICE_LINES
    connection = StrictConnection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % (2 * len(lines)))
    connection.next_event()

    assert connection.slice_end(lines) == len(lines)
    connection.receive_data(lines)
    assert isinstance(connection.next_event(), h11.Data)
    assert connection.slice_end(lines) == len(lines)
    assert connection.slice_end(lines + b"GET") == 2 * SLICE_LINES
    connection.receive_data(lines)
    connection.next_event()
    assert connection.slice_end(lines) == 2 * SLICE_LINES


def test_a_chunk_that_arrives_in_parts_counts_once() -> None:
    counter = StrictConnection(h11.SERVER)
    counter.receive_data(HEAD + b"\r\n1388\r\n")
    events = [counter.next_event()]
    for _ in range(5000):
        counter.receive_data(b"x")
        events.append(counter.next_event())

    assert sum(isinstance(event, h11.Data) for event in events) == 5000


def test_a_large_chunk_does_not_allow_thousands_of_tiny_ones(start_server: Callable[..., StubServer]) -> None:
    client = start_server(head_s=20).connect()
    client.sendall(HEAD + b"\r\n" + chunked(1, 500_000) + chunked(2 * MANY_CHUNKS, 1) + END)

    assert b"HTTP/1.1 400" in read_response(client)


@pytest.mark.parametrize(("headers", "status"), [(MAX_HEAD_LINES - 2, 200), (MAX_HEAD_LINES + 1, 431)])
def test_the_number_of_header_lines_is_limited(
    start_server: Callable[..., StubServer], headers: int, status: int
) -> None:
    server = start_server(head_s=20)
    head = b"GET /read HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
    sent = head + b"a:b\r\n" * (headers - 2) + b"\r\n"

    assert b"HTTP/1.1 %d" % status in server.exchange(sent)


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
def test_the_target_of_a_request_may_be_an_absolute_url(target: bytes, path: str, host: str) -> None:
    connection = StrictConnection(h11.SERVER)
    connection.receive_data(b"GET %s HTTP/1.1\r\nX: 1\r\nHost: here\r\n\r\n" % target)
    request = connection.next_event()

    assert isinstance(request, h11.Request)
    assert request.target.decode() == path
    assert dict(request.headers) == {b"host": host.encode(), b"x": b"1"}


@pytest.mark.parametrize(
    "target", [b"http:///read", b"ftp://here/read", b"http:", b"http://a@b/", b"http://a/#b"]
)
def test_a_target_with_an_invalid_url_is_refused(target: bytes) -> None:
    connection = StrictConnection(h11.SERVER)
    connection.receive_data(b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % target)
    with pytest.raises(HeadRefused):
        connection.next_event()

    assert connection.refused is not None
    assert connection.refused.kind.status == 400


def test_an_upgrade_offer_is_ignored_without_a_warning(
    start_server: Callable[..., StubServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Java's HttpClient offers HTTP/2 with each request."""
    server = start_server(head_s=20)
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAI\r\n\r\n"
    response = response_to(server, GET[:-2] + offer)

    assert b"HTTP/1.1 200 OK" in response
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def response_to(server: StubServer, sent: bytes) -> bytes:
    client = server.connect()
    client.sendall(sent)
    return read_response(client)

"""The end of chunked bodies, trailer fields, and early responses, on a real socket."""

from collections.abc import Callable

import pytest

from app.web.strict_http import (
    MAX_HEAD_LINES,
)
from tests.web.chunked import END, HEAD, bodies_of, chunked
from tests.web.stub_server import GET, StubServer, read_response, read_until_closed


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
def test_an_ambiguous_end_of_a_body_closes_the_connection(
    start_server: Callable[..., StubServer], end: bytes
) -> None:
    """A proxy that expects another end would treat the following request as part of the body."""
    server = start_server(head_s=20)
    client = server.connect()
    client.sendall(HEAD + b"\r\n" + chunked(2, 5) + end + GET)

    assert b"HTTP/1.1 200 OK" not in read_until_closed(client)
    assert server.paths.count("/read") <= 1


@pytest.mark.parametrize("end", [END, b"0;name=value\r\n\r\n", b"000\r\n\r\n"])
@pytest.mark.parametrize("send_bytes", [1, 2, 5, 10_000])
def test_an_unambiguous_end_of_a_body_is_accepted(
    start_server: Callable[..., StubServer], end: bytes, send_bytes: int
) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    sent = HEAD + b"Connection: close\r\n\r\n" + chunked(2, 5) + end
    for start in range(0, len(sent), send_bytes):
        client.sendall(sent[start : start + send_bytes])

    assert bodies_of(read_until_closed(client)) == [b"10"]


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
def test_trailer_fields_are_checked_like_a_head(
    start_server: Callable[..., StubServer], trailer: bytes, extension: bytes, *, is_read: bool
) -> None:
    """RFC 9112, 7.1: a server may ignore both chunk extensions and trailer fields."""
    server = start_server(head_s=20)
    client = server.connect()
    last = b"0\r\n" + trailer + b"\r\n"
    client.sendall(HEAD + b"\r\n4" + extension + b"\r\nabcd\r\n" + last)

    assert read_response(client).startswith(b"HTTP/1.1 200 " if is_read else b"HTTP/1.1 400 ")


@pytest.mark.parametrize("second", [GET, GET.replace(b"1.1", b"2.0"), GET.replace(b"\r\nHost", b"\nHost")])
def test_no_request_is_served_after_an_early_response(
    start_server: Callable[..., StubServer], second: bytes
) -> None:
    """The early response had ``Connection: close``."""
    server = start_server(head_s=20)
    client = server.connect()
    client.sendall(b"POST /ignore HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nhalf-")
    first = read_response(client)
    client.sendall(b"other" + second)

    assert b"HTTP/1.1 200" in first
    assert b"connection: close" in first.lower()
    assert read_until_closed(client) == b""
    assert server.paths == ["/ignore"]


@pytest.mark.parametrize("fields", [b"X-Checksum: 1\r\n", b"X: a\r\nY: b\r\n"])
@pytest.mark.parametrize("send_bytes", [1, 10_000])
def test_trailer_fields_are_dropped_and_the_connection_is_closed(
    start_server: Callable[..., StubServer], fields: bytes, send_bytes: int
) -> None:
    server = start_server(head_s=20)
    client = server.connect()
    sent = HEAD + b"\r\n" + chunked(2, 5) + b"0;x=1\r\n" + fields + b"\r\n" + GET
    for start in range(0, len(sent), send_bytes):
        client.sendall(sent[start : start + send_bytes])
    received = read_until_closed(client)

    assert bodies_of(received) == [b"10"]
    assert b"\r\nconnection: close\r\n" in received.lower()
    assert server.paths == ["/read"]

"""A client that ends its half of the connection behind its request reads its answer."""

import socket
import time
from collections.abc import Callable

import pytest

from tests.web.entrance import BIG, GET, Entrance, all_of, one_response, wait_until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OLD = GET.replace(b"HTTP/1.1", b"HTTP/1.0")


def response_to(here: Entrance, sent: bytes) -> bytes:
    """Send, end our half, and return all that comes until the server has closed its own."""
    client = here.connect()
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    return all_of(client)


def post(path: bytes, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % (path, len(body)) + body


@pytest.mark.parametrize("sent", [GET, OLD, post(b"/read", b"abcd"), post(b"/read", b"x" * 1_000_000)])
def test_an_answer_that_is_ready_is_sent_as_ever(enter: Callable[..., Entrance], sent: bytes) -> None:
    began_s = time.monotonic()
    response = response_to(enter(head_s=20), sent)

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert time.monotonic() - began_s < 5  # not after a timeout


@pytest.mark.parametrize("seconds", [0.1, 1.2])
def test_an_answer_that_takes_longer_is_waited_for(enter: Callable[..., Entrance], seconds: float) -> None:
    here = enter(head_s=20)
    response = response_to(here, post(f"/wait/{seconds}".encode(), b"abcd"))

    assert response.startswith(CONTINUE)
    assert response.replace(CONTINUE, b"").startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\n\r\n4")
    assert here.disconnected == 0


def test_a_large_answer_comes_whole(enter: Callable[..., Entrance]) -> None:
    client = enter(head_s=20, write_s=20).connect()
    client.sendall(GET.replace(b"/read", b"/big"))
    client.shutdown(socket.SHUT_WR)
    sizes = [len(one_response(client))]
    while piece := client.recv(2**20):
        sizes.append(len(piece))

    assert BIG < sum(sizes) < BIG + 1000


def test_all_of_several_requests_are_answered(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    response = response_to(here, post(b"/wait/0.05", b"a") * 3 + GET)

    assert response.replace(CONTINUE, b"").count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_client_that_left_is_noticed_while_its_request_is_worked_on(
    enter: Callable[..., Entrance], version: bytes
) -> None:
    here = enter(head_s=20)
    began_s = time.monotonic()
    with here.connect() as client:
        client.sendall(post(b"/wait/30", b"abcd").replace(b"HTTP/1.1", b"HTTP/" + version))
        wait_until(lambda: here.asked == ["/wait/30"])
    wait_until(lambda: here.disconnected == 1)

    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize("sent", [b"", b"GET /re", post(b"/read", b"abcd")[:-1], GET + b"GET /re"])
def test_what_is_not_whole_is_not_waited_for(enter: Callable[..., Entrance], sent: bytes) -> None:
    here = enter(head_s=20)
    response = response_to(here, sent)

    assert response.count(b"HTTP/1.1 200 OK") == sent.count(GET)
    assert b"HTTP/1.1 4" not in response


def test_a_refusal_is_read(enter: Callable[..., Entrance]) -> None:
    here = enter(head_s=20)
    response = response_to(here, b"GET / HTTP/1.1\r\nHost : here\r\n\r\n")

    assert response.startswith(b"HTTP/1.1 400 ")

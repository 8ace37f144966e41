import http.client
import socket

import pytest

from tests.web.conftest import Live


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refused_upload_is_read_to_its_end_so_that_the_answer_arrives(live: Live, is_chunked: bool) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    body = iter([b"x" * 100_000] * 39) if is_chunked else b"x" * 3_900_000
    headers = {"Content-Encoding": "br"}
    connection.request("POST", "/v1/mask", body=body, headers=headers, encode_chunked=is_chunked)
    answer = connection.getresponse()

    assert answer.status == 415
    assert b"unsupported-format" in answer.read()


def test_an_upload_over_the_cap_is_not_even_read(live: Live) -> None:
    """The answer comes at once, and the connection ends."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: here\r\nContent-Length: 4000001\r\n\r\n")
        answer = b""
        while piece := peer.recv(65536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"upload-too-large" in answer


def test_an_upload_of_unknown_length_ends_at_the_cap(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.sendall(b"3d0900\r\n" + bytes(0x3D0900) + b"\r\n1\r\nx\r\n")
        answer = b""
        while piece := peer.recv(65536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_to_be_told_to_send_is_told_not_to(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.putrequest("POST", "/v1/mask")
    connection.putheader("Content-Length", "500000000")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    answer = connection.getresponse()

    assert answer.status == 413

import http.client

import pytest

from tests.web.conftest import Live


@pytest.mark.parametrize(("size", "declared"), [(4_000_001, None), (6_000_000, "chunked")])
def test_a_refused_upload_is_read_to_its_end_so_that_the_answer_arrives(
    live: Live, size: int, declared: str | None
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    body = iter([b"x" * 100_000] * (size // 100_000)) if declared else b"x" * size
    connection.request("POST", "/v1/mask", body=body, encode_chunked=declared is not None)
    answer = connection.getresponse()

    assert answer.status == 413
    assert b"upload-too-large" in answer.read()


def test_a_client_that_waits_to_be_told_to_send_is_told_not_to(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.putrequest("POST", "/v1/mask")
    connection.putheader("Content-Length", "500000000")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    answer = connection.getresponse()

    assert answer.status == 413

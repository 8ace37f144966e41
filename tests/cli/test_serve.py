import socket

import pytest

from app.cli.listening import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_listener_says_that_it_speaks_tcp_so_that_answers_leave_at_once(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP

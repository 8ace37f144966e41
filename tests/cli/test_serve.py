import socket

import pytest

from app.cli.listening import listen


@pytest.mark.process
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_listener_is_created_with_ipproto_tcp(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.process
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_a_port_is_in_use_as_soon_as_it_is_opened(host: str) -> None:
    """Even before connections are accepted, because a loading server must hold its port."""
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on {host} port {port}: .*in use"):
            listen(host, port)
        with socket.create_connection(("::1" if ":" in host else "127.0.0.1", port), timeout=10):
            pass
    listen(host, port).close()


@pytest.mark.parametrize("port", [-1, 65_536, 10**20])
def test_an_invalid_port_has_a_readable_error(port: int) -> None:
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}: "):
        listen("127.0.0.1", port)

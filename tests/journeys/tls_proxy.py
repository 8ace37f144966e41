"""A minimal TLS proxy on its own loopback address, like a reverse proxy in front of the server."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme


@contextmanager
def tls_proxy(name: str, address: str, upstream: tuple[str, int], folder: Path) -> Iterator[Path]:
    """Serve ``name`` at ``address`` on port 443 during the block; yield the file of its CA certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, 443))
    except OSError as error:
        pytest.skip(f"cannot listen on {address} port 443: {error}")
    listener.listen(16)
    threading.Thread(target=_accept, args=(listener, context, upstream), daemon=True).start()
    yield trusted
    listener.shutdown(socket.SHUT_RDWR)  # ends the blocked accept, which would keep the port open
    listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, upstream: tuple[str, int]) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(plain, context, upstream), daemon=True).start()


def _relay(plain: socket.socket, context: ssl.SSLContext, upstream: tuple[str, int]) -> None:
    with (
        suppress(OSError),
        socket.create_connection(upstream) as server,
        context.wrap_socket(plain, server_side=True) as client,
    ):
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        _pump(client, server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

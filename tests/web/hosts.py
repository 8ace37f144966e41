"""HTTP servers on loopback addresses, as stand-ins for public hosts and for an internal network."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Reply = bytes | Callable[[socket.socket], None]


@dataclass
class Host:
    """A server on one address and port, with a reply for each path; counts connections and keeps heads."""

    address: str
    port: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    connections: int = 0
    heads: list[str] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Serve until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._reply, args=(connection,), daemon=True).start()

    def _reply(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(20)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.heads.append(head.decode("latin-1"))
            reply = self.replies.get(head.split(b" ")[1].decode(), reply_of(b"", status=404))
            if callable(reply):
                reply(connection)
            else:
                connection.sendall(reply)
            connection.close()


def reply_of(body: bytes, *, status: int = 200, headers: str = "") -> bytes:
    """Return a complete HTTP response."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def redirect_to(url: str, *, status: int = 302) -> bytes:
    """Return a redirect."""
    return reply_of(b"", status=status, headers=f"Location: {url}\r\n")


def stall_after(start: bytes, seconds: float = 15) -> Callable[[socket.socket], None]:
    """Return a reply that stalls after its first bytes."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(start)
        time.sleep(seconds)

    return reply


@contextmanager
def hosting(*hosts: Host) -> Iterator[None]:
    """Run hosts during the block, all on one port; each address of 127.0.0.0/8 is a separate host."""
    port = hosts[0].port
    listeners = []
    for host in hosts:
        family = socket.AF_INET6 if ":" in host.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.address, port))
        port = host.port = listener.getsockname()[1]
        listener.listen(64)
        listeners.append(listener)
        threading.Thread(target=host.serve, args=(listener,), daemon=True).start()
    try:
        yield
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

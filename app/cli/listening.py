"""Listening: opens the socket before anything is loaded, so that a port in use is reported at once."""

import socket

BACKLOG = 2048
"""Limit on connections that wait to be accepted, while the event loop is busy or the process is loading."""


def listen(host: str, port: int, *, action: str = "listen", hint: str = "") -> socket.socket:
    """Return a listening socket, on a free port if ``port`` is 0.

    Binding and listening belong together: two sockets can bind the same port until one of them listens.

    Args:
        host: An IPv4 or IPv6 address.
        port: The port.
        action: The failed action, for the error message.
        hint: A remedy, for the error message.

    Raises:
        OSError: The port is in use, not allowed, or invalid.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is explicit, because asyncio disables Nagle's algorithm only for sockets with IPPROTO_TCP:
    # otherwise small responses are delayed by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot {action} on {host} port {port}: {reason}{hint}") from error
    return listener

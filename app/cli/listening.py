"""Listening: a socket is opened before anything is loaded, so that a taken port is found out at once."""

import socket

BACKLOG = 2048
"""Connections that may wait to be accepted: for an event loop that is busy, or for a process that loads."""


def listen(host: str, port: int, *, why: str = "listen", way_out: str = "") -> socket.socket:
    """Return a socket that listens, on a free port if ``port`` is 0.

    Both steps belong together: two sockets can be bound to one port for as long as neither listens.

    Args:
        host: An IP address of either kind.
        port: The port.
        why: What cannot be done where the port is taken, for the message.
        way_out: What could be done about it.

    Raises:
        OSError: The port is taken, or is none of ours; the message says so.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio turns Nagle off only where it reads TCP: else small answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot {why} on {host} port {port}: {reason}{way_out}") from error
    return listener

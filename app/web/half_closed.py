"""Half-closed: a client that has ended its half of a connection may still be there to read its answer.

Scripts around ``nc``, ``ncat`` or ``socat`` do so when a request is sent. A client that is gone looks the
same, and work for it should end. The two differ in what comes back for bytes that are sent to them: a socket
that is closed answers with a reset. So ``100 Continue`` is sent, which a server may send at any time before a
response and every client of HTTP/1.1 passes over (RFC 9110, 15.2). HTTP/1.0 has no such responses: a client
that is not answered within a sixth of a second there counts as left.
"""

import asyncio
import socket
from typing import Any

import h11

FIRST_S, LAST_S = 0.01, 0.5
"""Time until the connection is looked at for the first time; then twice as long each time, up to the last."""
OLD_S = 0.08
"""With it, HTTP/1.0 has been looked at four times, for 0.15 s."""
_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")


class HalfClosed:
    """One such connection, looked at until its request is answered or its client is known to be gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: h11.Connection, transport: Any) -> None:
        self._loop = loop
        self._connection = connection
        self._transport = transport
        self._after_s = FIRST_S
        loop.call_later(self._after_s, self._look)

    def _look(self) -> None:
        """Close the connection if its client is gone; ask it, and look again later."""
        if self._transport.is_closing():
            return
        is_due = self._connection.our_state is h11.SEND_RESPONSE  # later, the response itself asks
        is_old = self._connection.their_http_version != b"1.1"
        has_left = is_due and is_old and self._after_s >= OLD_S
        if has_left or _was_reset(self._transport):
            self._transport.abort()
            return
        if is_due and not is_old and self._after_s in (FIRST_S, LAST_S):
            self._transport.write(self._connection.send(_CONTINUE))
        self._after_s = min(2 * self._after_s, LAST_S)
        self._loop.call_later(self._after_s, self._look)


def _was_reset(transport: Any) -> bool:
    """Tell whether the other end has answered with a reset; asyncio does not read on to see it."""
    connected: socket.socket = transport.get_extra_info("socket")
    return connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

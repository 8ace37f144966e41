"""Half-closed: detects whether a client that has closed its sending half still waits for the response.

Scripts around ``nc``, ``ncat`` or ``socat`` half-close the connection after the request. A client that has
disconnected looks the same, and its work should be cancelled. The difference shows when the server sends
bytes: a closed socket replies with a reset. So the server sends ``100 Continue``, which is allowed at any
time before a response, and which every HTTP/1.1 client ignores (RFC 9110, 15.2). HTTP/1.0 has no such
responses: an HTTP/1.0 client without a response after a sixth of a second counts as disconnected.
"""

import asyncio
import socket
from typing import Any

import h11

FIRST_CHECK_S, MAX_INTERVAL_S = 0.00125, 0.5
"""Time until the first check of the connection; each following interval doubles, up to the maximum."""
HTTP_1_0_INTERVAL_S = 0.08
"""The check after this interval is the seventh, 0.16 s after the half-close, and the last for HTTP/1.0."""
_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")


class HalfClosed:
    """Checks a half-closed connection until the response is sent or its client has disconnected."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: h11.Connection, transport: Any) -> None:
        self._loop = loop
        self._connection = connection
        self._transport = transport
        self._interval_s = FIRST_CHECK_S
        loop.call_later(self._interval_s, self._check)

    def _check(self) -> None:
        """Close the connection if its client has disconnected; otherwise probe it and check again later."""
        if self._transport.is_closing():
            return
        is_pending = self._connection.our_state is h11.SEND_RESPONSE  # later, the response itself probes
        is_http_1_0 = self._connection.their_http_version != b"1.1"
        is_given_up = is_pending and is_http_1_0 and self._interval_s >= HTTP_1_0_INTERVAL_S
        if is_given_up or was_reset(self._transport):
            self._transport.abort()
            return
        if is_pending and not is_http_1_0 and self._interval_s in (FIRST_CHECK_S, MAX_INTERVAL_S):
            self._transport.write(self._connection.send(_CONTINUE))
        self._interval_s = min(2 * self._interval_s, MAX_INTERVAL_S)
        self._loop.call_later(self._interval_s, self._check)


def was_reset(transport: Any) -> bool:
    """Return whether the client has sent a reset; asyncio does not notice it, because it no longer reads."""
    connected: socket.socket = transport.get_extra_info("socket")
    return connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

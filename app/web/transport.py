"""Transport: wraps the transport of a connection, to pause reading and to close it gracefully."""

from collections.abc import Callable
from typing import Any


class ConnectionTransport:
    """A transport with two independent reasons to pause reading, and a lingering close.

    Reading is paused while uvicorn asks for it (``pause_reading``), or while received bytes are still being
    parsed (``hold_reading``).

    Args:
        transport: The transport of the socket.
        is_client_sending: Returns whether the client may still be sending when the connection is closed.
        linger: Takes over the transport in that case, and closes it.
    """

    def __init__(
        self, transport: Any, is_client_sending: Callable[[], bool], linger: Callable[[Any], None]
    ) -> None:
        self._transport = transport
        self._is_client_sending = is_client_sending
        self._linger = linger
        self.is_lingering = False
        self._is_paused = False
        self._is_held = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Pause reading until ``resume_reading`` is called."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading, unless received bytes are still being parsed."""
        self._is_paused = False
        if not self._is_held:
            self._transport.resume_reading()

    def hold_reading(self, *, is_held: bool) -> None:
        """Pause reading while received bytes are being parsed, whatever uvicorn asks for."""
        if is_held is self._is_held:
            return
        self._is_held = is_held
        if is_held:
            self._transport.pause_reading()
        elif not self._is_paused:
            self._transport.resume_reading()

    def is_closing(self) -> bool:
        """Return whether nothing more can be sent."""
        return self.is_lingering or bool(self._transport.is_closing())

    def close(self) -> None:
        """Close now, or linger while the client is still sending; a second call closes now."""
        if self.is_closing() or not self._is_client_sending():
            self._transport.close()
            return
        self.is_lingering = True
        self._linger(self._transport)

    def drop_callbacks(self) -> None:
        """Break the reference cycle with the connection, which otherwise waits for the garbage collector."""
        self._is_client_sending = lambda: False
        self._linger = lambda _: None

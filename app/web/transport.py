"""Transport: the socket of a connection, read no faster than understood, closed when its client is done."""

from collections.abc import Callable
from typing import Any


class HeldTransport:
    """A transport that two may keep from reading, and whose client may finish sending.

    Args:
        transport: The transport of the socket.
        still_sends: Tells whether the client may be sending, when the connection is to be closed.
        linger: Takes the transport over then, and closes it.
    """

    def __init__(
        self, transport: Any, still_sends: Callable[[], bool], linger: Callable[[Any], None]
    ) -> None:
        self._transport = transport
        self._still_sends = still_sends
        self._linger = linger
        self.is_lingering = False
        self._is_paused = False
        self._is_held = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Read nothing more until told to."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless what came is still being looked at."""
        self._is_paused = False
        if not self._is_held:
            self._transport.resume_reading()

    def hold_reading(self, *, is_held: bool) -> None:
        """Read nothing while what came is being looked at, whoever wants more meanwhile."""
        if is_held is self._is_held:
            return
        self._is_held = is_held
        if is_held:
            self._transport.pause_reading()
        elif not self._is_paused:
            self._transport.resume_reading()

    def is_closing(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.is_lingering or bool(self._transport.is_closing())

    def close(self) -> None:
        """Close at once, or after the client has finished; a second time is at once."""
        if self.is_closing() or not self._still_sends():
            self._transport.close()
            return
        self.is_lingering = True
        self._linger(self._transport)

    def forget_who_sends(self) -> None:
        """Let go of the connection, which else would hold itself, and wait for the garbage collector."""
        self._still_sends = lambda: False
        self._linger = lambda _: None

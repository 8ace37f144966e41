"""Transport: the socket of a connection, closed in two steps, and read no faster than it is understood."""

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_S, LINGER_BYTES = 1.0, 2**20
"""For how long, and how much of it, the rest of a body is taken and dropped after the last answer."""


class LingeringTransport:
    """A transport that is closed in two steps while its client still sends.

    Closing a socket on bytes that nobody has read makes the operating system reset the connection, and an
    answer that the client has not read yet is lost. So the sending half is closed first, and for a short
    while what comes is dropped, unseen by anybody.
    """

    def __init__(self, transport: Any, still_sends: Callable[[], bool]) -> None:
        self._transport = transport
        self._still_sends = still_sends
        self._left_bytes: int | None = None
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
        return self._left_bytes is not None or bool(self._transport.is_closing())

    def close(self) -> None:
        """Close at once, or after the client has heard why; a second time is at once."""
        if self.is_closing() or not self._still_sends():
            self._transport.close()
            return
        self._left_bytes = LINGER_BYTES
        self._is_held = False
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def forget_who_sends(self) -> None:
        """Let go of the connection, which else would hold itself, and wait for the garbage collector."""
        self._still_sends = lambda: False

    def drops(self, data: bytes) -> bool:
        """Drop what came after the end, and tell whether it did; too much of it is the end."""
        if self._left_bytes is None:
            return False
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._transport.close()
        return True

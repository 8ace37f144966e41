"""Lingering close: lets a client finish sending after an early response (RFC 9112, 9.6).

If a server closes a socket that has unread bytes, the operating system resets the connection, and the client
loses a response that it has not read yet; a proxy turns that into a 502. So the server closes its sending
half first, and drops what still arrives until the client closes its half too.

All dropped bytes are read into one shared buffer. Limits on the bytes, time and pauses of one client, on the
number of clients, and on the total rate prevent clients from occupying the server this way.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.engine.clock import Clock

BUFFER_BYTES = 64 * 1024
"""The size of one read: for 200 clients at once, the event loop is busy for 3 ms."""
MIN_BYTES_PER_S = 4096
BURST_S = 0.05
RESUME_INTERVAL_S, MAX_RESUMED = 0.005, 32
"""The shortest interval at which waiting clients resume, and the number that resume at a time."""
OnLost = Callable[[Exception | None], None]
OnAbort = Callable[[], object]


@dataclass(frozen=True, slots=True)
class LingerLimits:
    """Limits on lingering clients.

    Attributes:
        client_bytes: Maximum bytes dropped for one client.
        time_s: Maximum time since the response.
        pause_s: Maximum time at less than ``MIN_BYTES_PER_S``.
        slow_pause_s: The same for a client that was refused for being slow.
        clients: Maximum number of clients; the next one replaces the oldest.
    """

    client_bytes: int = 80 * 2**20
    time_s: float = 60.0
    pause_s: float = 5.0
    slow_pause_s: float = 0.5
    clients: int = 512


class DropRate:
    """Limits the rate at which bytes are read only to be dropped, for all clients together."""

    def __init__(self, clock: Clock, bytes_per_s: float = 64 * 2**20) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._credit_bytes = 0.0
        self._credit_at_s = clock.now_s()

    def take(self, size_bytes: int) -> float:
        """Count dropped bytes, and return the seconds to wait before more bytes are read."""
        now_s = self._clock.now_s()
        earned = self._credit_bytes + (now_s - self._credit_at_s) * self._bytes_per_s
        self._credit_bytes = min(earned, BURST_S * self._bytes_per_s) - size_bytes
        self._credit_at_s = now_s
        return max(0.0, -self._credit_bytes / self._bytes_per_s)


class Lingering:
    """The lingering clients of a server."""

    def __init__(self, clock: Clock, limits: LingerLimits, rate: DropRate) -> None:
        self.clock = clock
        self._limits = limits
        self._clients: dict[_LingeringClient, None] = {}  # the oldest first
        self._waiting: deque[_LingeringClient] = deque()
        self._rate = rate
        self._is_resume_scheduled = False
        self.buffer = memoryview(bytearray(BUFFER_BYTES))

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, transport: Any, on_lost: OnLost, on_abort: OnAbort, *, is_slow: bool = False) -> None:
        """Close the sending half of a connection, and drop what its client still sends.

        Args:
            transport: The transport; the complete response was written to it.
            on_lost: Called like ``connection_lost`` when the connection has ended.
            on_abort: Called if the connection is aborted because it exceeds a limit.
            is_slow: Whether the client was refused for being slow.
        """
        while len(self._clients) >= self._limits.clients:
            self._abort(next(iter(self._clients)))
        client = _LingeringClient(self, transport, on_lost, on_abort)
        client.pause_s = self._limits.slow_pause_s if is_slow else self._limits.pause_s
        self._clients[client] = None
        transport.pause_reading()
        transport.set_protocol(client)
        transport.write_eof()
        transport.resume_reading()

    def close_expired(self) -> None:
        """Abort the connections of clients that exceed the time limit or send too little."""
        now_s = self.clock.now_s()
        for client in tuple(self._clients):
            if now_s - client.since_s > self._limits.time_s or client.is_too_slow(now_s):
                self._abort(client)

    def count_dropped(self, client: "_LingeringClient", size_bytes: int) -> None:
        """Count dropped bytes, and pause reading from the client if the total rate is too high."""
        client.dropped_bytes += size_bytes
        if client.dropped_bytes > self._limits.client_bytes:
            self._abort(client)
            return
        wait_s = self._rate.take(size_bytes)
        if wait_s > 0:
            client.is_waiting = True
            client.transport.pause_reading()
            self._waiting.append(client)
            self._schedule_resume(wait_s)

    def remove(self, client: "_LingeringClient") -> None:
        """Remove a client whose connection has ended."""
        self._clients.pop(client, None)

    def _abort(self, client: "_LingeringClient") -> None:
        self._clients.pop(client, None)
        client.on_abort()
        client.transport.abort()

    def _schedule_resume(self, wait_s: float) -> None:
        if not self._is_resume_scheduled:
            self._is_resume_scheduled = True
            asyncio.get_running_loop().call_later(max(RESUME_INTERVAL_S, wait_s), self._resume)

    def _resume(self) -> None:
        """Resume reading from some of the waiting clients, first come, first served."""
        self._is_resume_scheduled = False
        wait_s = self._rate.take(0)
        if wait_s == 0:
            now_s = self.clock.now_s()
            for _ in range(min(len(self._waiting), MAX_RESUMED)):
                client = self._waiting.popleft()
                if client in self._clients:
                    client.resume(now_s)
        if self._waiting:
            self._schedule_resume(wait_s)


class _LingeringClient(asyncio.BufferedProtocol):
    """The protocol of a lingering connection, which drops all received bytes."""

    def __init__(self, lingering: Lingering, transport: Any, on_lost: OnLost, on_abort: OnAbort) -> None:
        self._lingering = lingering
        self._on_lost: OnLost | None = on_lost
        self.transport = transport
        self.on_abort = on_abort
        self.since_s = self._checked_s = lingering.clock.now_s()
        self.dropped_bytes = self._checked_bytes = 0
        self.pause_s = 0.0
        self.is_waiting = False

    def is_too_slow(self, now_s: float) -> bool:
        """Return whether the client has sent too little since the last check."""
        if self.is_waiting or now_s - self._checked_s <= self.pause_s:
            return False
        new_bytes = self.dropped_bytes - self._checked_bytes
        is_too_slow = new_bytes < MIN_BYTES_PER_S * self.pause_s
        self._checked_s, self._checked_bytes = now_s, self.dropped_bytes
        return is_too_slow

    def resume(self, now_s: float) -> None:
        """Resume reading after a wait."""
        self.is_waiting = False
        self._checked_s, self._checked_bytes = now_s, self.dropped_bytes
        self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one size for all
        """Return the shared buffer, so that new bytes overwrite the previous ones."""
        return self._lingering.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Drop the received bytes."""
        self._lingering.count_dropped(self, nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the client."""
        self._lingering.remove(self)
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(exc)

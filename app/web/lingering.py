"""Lingering close: a client that was answered early may finish sending (RFC 9112, 9.6).

If a server closes a socket that holds unread bytes, the operating system resets the connection, and the
client loses a response that it has not read yet; a proxy turns that into a 502. So the server closes its
sending half first, and drops what still arrives until the client has closed its half too.

All of it goes into one shared buffer. Limits on the bytes, time and pauses of one client, on the number of
clients and on the bytes a second of all together keep this from being a way to occupy the server.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.engine.clock import Clock

BUFFER_BYTES = 64 * 1024
"""What one read drops: 200 clients at once take the event loop for 3 ms."""
MIN_BYTES_PER_S = 4096
BURST_S = 0.05
WAKE_S, TURNS = 0.005, 32
"""How often, and how many at a time, go on reading that had to wait."""
OnLost = Callable[[Exception | None], None]
OnCut = Callable[[], object]


@dataclass(frozen=True, slots=True)
class LingerLimits:
    """Limits on lingering clients.

    Attributes:
        client_bytes: Most bytes dropped for one client.
        time_s: Longest time from the response on.
        pause_s: Longest time at less than ``MIN_BYTES_PER_S``.
        slow_pause_s: The same for a client that was refused for being slow.
        clients: Most at a time; the oldest makes room for the next.
    """

    client_bytes: int = 80 * 2**20
    time_s: float = 60.0
    pause_s: float = 5.0
    slow_pause_s: float = 0.5
    clients: int = 512


class DropRate:
    """Limits how many bytes a second are read only to be dropped, from all clients together."""

    def __init__(self, clock: Clock, bytes_per_s: float = 64 * 2**20) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._credit_bytes = 0.0
        self._credit_at_s = clock.now_s()

    def take(self, size_bytes: int) -> float:
        """Count what was taken, and return the seconds to wait before more of it is taken."""
        now_s = self._clock.now_s()
        earned = self._credit_bytes + (now_s - self._credit_at_s) * self._bytes_per_s
        self._credit_bytes = min(earned, BURST_S * self._bytes_per_s) - size_bytes
        self._credit_at_s = now_s
        return max(0.0, -self._credit_bytes / self._bytes_per_s)


class Lingering:
    """The connections of a server whose clients are answered and still send."""

    def __init__(self, clock: Clock, limits: LingerLimits, rate: DropRate) -> None:
        self.clock = clock
        self._limits = limits
        self._rests: dict[_Rest, None] = {}  # the oldest first
        self._waiting: deque[_Rest] = deque()
        self._rate = rate
        self._wakes = False
        self.buffer = memoryview(bytearray(BUFFER_BYTES))

    def __len__(self) -> int:
        return len(self._rests)

    def take(self, transport: Any, on_lost: OnLost, on_cut: OnCut, *, is_slow: bool = False) -> None:
        """Close the sending half of a connection, and drop what still comes.

        Args:
            transport: Its transport, on which all was written.
            on_lost: Told as ``connection_lost`` when it has come to its end.
            on_cut: Told when it is ended here, over one of the limits.
            is_slow: Whether its client was refused for being slow.
        """
        while len(self._rests) >= self._limits.clients:
            self._cut(next(iter(self._rests)))
        rest = _Rest(self, transport, on_lost, on_cut)
        rest.pause_s = self._limits.slow_pause_s if is_slow else self._limits.pause_s
        self._rests[rest] = None
        transport.pause_reading()
        transport.set_protocol(rest)
        transport.write_eof()
        transport.resume_reading()

    def sweep(self) -> None:
        """Cut clients whose time is over or that send too little."""
        now_s = self.clock.now_s()
        for rest in tuple(self._rests):
            if now_s - rest.since_s > self._limits.time_s or rest.pauses(now_s):
                self._cut(rest)

    def dropped(self, rest: "_Rest", size_bytes: int) -> None:
        """Count what came, and let its client wait if that was too much."""
        rest.dropped_bytes += size_bytes
        if rest.dropped_bytes > self._limits.client_bytes:
            self._cut(rest)
            return
        wait_s = self._rate.take(size_bytes)
        if wait_s > 0:
            rest.waits = True
            rest.transport.pause_reading()
            self._waiting.append(rest)
            self._wake_after(wait_s)

    def ended(self, rest: "_Rest") -> None:
        """Forget one that has come to its end."""
        self._rests.pop(rest, None)

    def _cut(self, rest: "_Rest") -> None:
        self._rests.pop(rest, None)
        rest.on_cut()
        rest.transport.abort()

    def _wake_after(self, wait_s: float) -> None:
        if not self._wakes:
            self._wakes = True
            asyncio.get_running_loop().call_later(max(WAKE_S, wait_s), self._wake)

    def _wake(self) -> None:
        """Let some read on, in the order in which they began to wait."""
        self._wakes = False
        wait_s = self._rate.take(0)
        if wait_s == 0:
            now_s = self.clock.now_s()
            for _ in range(min(len(self._waiting), TURNS)):
                rest = self._waiting.popleft()
                if rest in self._rests:
                    rest.goes_on(now_s)
        if self._waiting:
            self._wake_after(wait_s)


class _Rest(asyncio.BufferedProtocol):
    """What one client still sends."""

    def __init__(self, lingering: Lingering, transport: Any, on_lost: OnLost, on_cut: OnCut) -> None:
        self._lingering = lingering
        self._on_lost: OnLost | None = on_lost
        self.transport = transport
        self.on_cut = on_cut
        self.since_s = self._watched_s = lingering.clock.now_s()
        self.dropped_bytes = self._watched_bytes = 0
        self.pause_s = 0.0
        self.waits = False

    def pauses(self, now_s: float) -> bool:
        """Tell whether too little came since that was last looked at."""
        if self.waits or now_s - self._watched_s <= self.pause_s:
            return False
        came = self.dropped_bytes - self._watched_bytes
        is_little = came < MIN_BYTES_PER_S * self.pause_s
        self._watched_s, self._watched_bytes = now_s, self.dropped_bytes
        return is_little

    def goes_on(self, now_s: float) -> None:
        """Read on after waiting for others."""
        self.waits = False
        self._watched_s, self._watched_bytes = now_s, self.dropped_bytes
        self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one size for all
        """Have it written over what came before."""
        return self._lingering.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Drop it."""
        self._lingering.dropped(self, nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._lingering.ended(self)
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(exc)

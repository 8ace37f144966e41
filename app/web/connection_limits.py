"""Connection limits: deadlines and counts for all connections of a server.

Rule 1: one task checks the deadlines of all connections five times a second (``watch_deadlines``), so a
connection needs no timers, and is closed at most a fifth of a second late.
Rule 2: each address has a limited number of connections. An IPv6 client controls a whole /64, so connections
are counted for the /64.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from app.engine.clock import Clock
from app.web.lingering import DropRate, Lingering, LingerLimits

CHECK_INTERVAL_S = 0.2


class TimedConnection(Protocol):
    """A connection with deadlines."""

    def check_deadlines(self, now_s: float) -> None:
        """Close the connection if its client has missed a deadline."""


@dataclass(slots=True)
class ConnectionLimits:
    """Limits and state that all connections of a server share.

    Attributes:
        clock: The clock of all deadlines.
        head_timeout_s: Time for a client to send the request line and headers.
        write_timeout_s: Time for a client to read a chunk of its response.
        max_per_address: Limit on concurrent connections of one address; ``None`` for no limit.
        on_closed: Called with the reason each time the server closes a connection early.
        linger: Limits for clients that are still sending after an early response.
        drop_rate: Limits the rate at which their bytes are dropped, shared with other parts that drop bytes.
        cors_origins: Comma-separated origins whose pages may read refusals too.
        connections: The open connections.
        per_address: The number of open connections of each address.
    """

    clock: Clock
    head_timeout_s: float
    write_timeout_s: float
    max_per_address: int | None
    on_closed: Callable[[str], object]
    linger: LingerLimits = field(default_factory=LingerLimits)
    drop_rate: DropRate | None = None
    lingering: Lingering = field(init=False)
    cors_origins: str | None = None
    connections: set[TimedConnection] = field(default_factory=set)
    per_address: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lingering = Lingering(self.clock, self.linger, self.drop_rate or DropRate(self.clock))

    def add(self, connection: TimedConnection, owner: str) -> bool:
        """Count a new connection; return whether its owner now has too many."""
        self.connections.add(connection)
        self.per_address[owner] += 1
        return self.max_per_address is not None and self.per_address[owner] > self.max_per_address

    def remove(self, connection: TimedConnection, owner: str) -> None:
        """Remove a closed connection from the counts."""
        self.connections.discard(connection)
        self.per_address[owner] -= 1
        if self.per_address[owner] <= 0:
            del self.per_address[owner]

    def close_expired(self) -> None:
        """Close each connection whose client has missed a deadline."""
        now_s = self.clock.now_s()
        for connection in tuple(self.connections):
            connection.check_deadlines(now_s)
        self.lingering.close_expired()


async def watch_deadlines(connection_limits: ConnectionLimits) -> None:
    """Close expired connections five times a second, until cancelled."""
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        connection_limits.close_expired()


def owner_of(address: str) -> str:
    """Return the address under which a client is counted: its own, or the /64 network of an IPv6 address."""
    try:
        ip = ip_address(address)
    except ValueError:  # the client of a Unix socket has no address
        return ""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(IPv6Address(int(ip) >> 64 << 64))
    return str(ip)

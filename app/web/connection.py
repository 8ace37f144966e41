"""Connection: what a socket may cost before, between and after its requests.

uvicorn has a timeout for idle connections and none for a client that sends or reads slowly, so that fifty
sockets from one laptop would hold the server for ever. Here each stretch of a connection has its deadline:

    connected ──head──▶ request ──body (``receive.py``)──▶ answer ──▶ idle ──head──▶ …
                                                             ├ each piece of it is taken in time
                                                             ├ before the body's end: ``lingering.py``
                                                             └ behind the client's: ``half_closed.py``

Rule 1: deadlines are looked at five times a second for all connections together (``Door.sweep``), so a
connection costs no timers and is closed at most a fifth of a second late.
Rule 2: a request head that two readers could read differently is refused, for the one in front of us may
have read it the other way (request smuggling): lone CR or LF, folded lines, two ways to tell the body's end.
Rule 3: what came is read in slices with few lines each, and the event loop serves others in between: a chunk
of a body may be one byte, and each costs as much work as a large one.
Rule 4: nobody keeps more than a share of the connections. An IPv6 client owns a /64.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.engine.clock import Clock
from app.web.context import request_id_from
from app.web.cors import origin_of, refusal_headers
from app.web.half_closed import HalfClosed
from app.web.lingering import DropRate, Lingering, LingerLimits
from app.web.problems import (
    HEAD_TOO_SLOW,
    MALFORMED,
    TOO_MANY_CONNECTIONS,
    ProblemKind,
    problem,
)
from app.web.strict_http import HeadRefused, StrictConnection, check_head, slice_end
from app.web.transport import HeldTransport

ORIGIN_S = 1.0
"""Time for the head on a connection too many, which names the origin that may read the refusal."""
SWEEP_S = 0.2


@dataclass(slots=True)
class ConnectionLimits:
    """What all connections of a server share: their rules, and how many each address has.

    Attributes:
        clock: The source of all deadlines.
        head_timeout_s: Time a client has to send a request's line and headers.
        write_timeout_s: Time a client has to take a piece of its answer.
        most_per_address: Connections of one address at a time; ``None`` is any number.
        on_closed: Told why, each time a connection is not left to its client.
        linger: What those may take who are answered before they have sent everything.
        drop_rate: How fast that is dropped, if others drop as well.
        cors_origins: Comma-separated origins whose pages may read refusals, too.
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
    connections: "set[Connection]" = field(default_factory=set)
    per_address: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lingering = Lingering(self.clock, self.linger, self.drop_rate or DropRate(self.clock))

    def connect(self, **of_uvicorn: Any) -> "Connection":
        """Make the protocol of one connection, as uvicorn's factory would."""
        return Connection(self, **of_uvicorn)

    def sweep(self) -> None:
        """Close every connection whose client has let a deadline pass."""
        now_s = self.clock.now_s()
        for connection in tuple(self.connections):
            connection.keep_time(now_s)
        self.lingering.sweep()


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with a deadline for each stretch and a closer look at each head."""

    def __init__(self, door: ConnectionLimits, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self.conn = self._strict = StrictConnection(h11.SERVER)
        self._unread = bytearray()
        self._reads_on = False
        self._door = door
        self._owner = ""
        self._is_one_too_many = False
        self._head_since_s: float | None = None
        self._is_refused = False
        self._half_closed: HalfClosed | None = None
        self._write_since_s: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to count, or turn away whoever has enough connections."""
        self._held = HeldTransport(transport, self._still_sends, self._linger)
        super().connection_made(self._held)  # type: ignore[arg-type] # used like the one it stands for
        door = self._door
        door.connections.add(self)
        self._owner = owner_of(self.client[0]) if self.client else ""
        door.per_address[self._owner] += 1
        self._head_since_s = door.clock.now_s()
        if door.max_per_address is not None and door.per_address[self._owner] > door.max_per_address:
            self._is_one_too_many = True
            if door.cors_origins is None:
                self._turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._door.connections.discard(self)
        self._door.per_address[self._owner] -= 1
        if self._door.per_address[self._owner] <= 0:
            del self._door.per_address[self._owner]
        super().connection_lost(exc)
        self._held.forget_who_sends()

    def data_received(self, data: bytes) -> None:
        """Read what came, or let it wait behind what is being read."""
        if self._unread:
            self._unread += data
            return
        stop = slice_end(data)
        if stop < len(data):
            self._unread += data[stop:]
            self._read_soon()
        self._read(data[:stop])

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's protocols may tell to keep a transport
        """Keep the connection for the answer, if the client has ended its half behind a whole request."""
        if not self._answers_whole_request():
            return False
        if self._half_closed is None:
            self._half_closed = HalfClosed(self.loop, self.conn, self._held)
        return True

    def _answers_whole_request(self) -> bool:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return is_answering and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)

    def _read_soon(self) -> None:
        """Let others go first, then read on; nothing more is taken from the socket meanwhile."""
        self._held.hold_reading(is_held=True)
        if not self._reads_on:
            self._reads_on = True
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Read the next slice, unless it has to wait for an answer or is of no use any more."""
        self._reads_on = False
        if self._held.is_closing() or not self._unread:
            self._unread.clear()
            return
        if self.conn.their_state is h11.DONE:
            return  # ``on_response_complete`` goes on
        stop = slice_end(self._unread)
        piece = bytes(self._unread[:stop])
        del self._unread[:stop]
        if self.conn.their_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._unread.clear()  # nothing may come behind the last request
            piece = b""
        if self._unread:
            self._read_soon()
        else:
            self._held.hold_reading(is_held=False)
        if piece:
            self._read(piece)

    def _read(self, data: bytes) -> None:
        """Look at a head before it is read, and at the time after that."""
        before = self.conn.trailing_data[0]
        if self.conn.their_state is h11.IDLE and self._refuses(before + data, new_bytes=len(data)):
            return
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Look at a head that came along with the last request."""
        if not self._held.is_closing() and self._refuses(self.conn.trailing_data[0]):
            return
        waited = self.conn.their_state is h11.DONE
        super().on_response_complete()
        self._watch_head()
        if waited and self._unread and not self._held.is_closing():
            self._read_soon()
        elif self._half_closed is not None and not self._answers_whole_request():
            self.transport.close()  # nothing more can come

    def pause_writing(self) -> None:
        """Begin to wait for a reader."""
        super().pause_writing()
        self._write_since_s = self._door.clock.now_s()

    def resume_writing(self) -> None:
        """The reader has taken a piece."""
        super().resume_writing()
        self._write_since_s = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - says no more than ours
        """Refuse what is no HTTP, or a head that came behind a body."""
        refused = self._strict.refused
        if refused is not None:
            self._refuse(refused.kind, refused.detail)
            return
        self._refuse(MALFORMED, "This is not an HTTP request that can be read in one way only.")

    def keep_time(self, now_s: float) -> None:
        """Close the connection if its client has let a deadline pass."""
        if self._has_passed(self._write_since_s, now_s, self._door.write_timeout_s):
            self._abort("slow-reader")
        elif self.transport.is_closing() and not self._held.is_lingering:
            # Closing waits until the last bytes are taken, which a client may never do.
            self._write_since_s = self._write_since_s or now_s
        elif self._is_one_too_many and self._has_passed(self._head_since_s, now_s, ORIGIN_S):
            self._turn_away()
        elif self._has_passed(self._head_since_s, now_s, self._door.head_timeout_s):
            self._refuse(HEAD_TOO_SLOW, "The request's headers did not arrive in time.")

    @staticmethod
    def _has_passed(since_s: float | None, now_s: float, timeout_s: float) -> bool:
        return since_s is not None and now_s - since_s > timeout_s

    def _still_sends(self) -> bool:
        """Tell whether more may come, of a body or behind a head that is not read."""
        return self._is_refused or self.conn.their_state is h11.SEND_BODY or self._strict.had_trailer

    def _linger(self, transport: Any) -> None:
        self._head_since_s = self._write_since_s = None
        self._unread.clear()
        if self.cycle is not None:  # what came of the body is not kept for as long as its client lingers
            self.cycle.body = bytearray()
        on_cut: Callable[[], object] = partial(self._door.on_closed, "slow-body")
        if self._is_refused:  # and counted as that
            on_cut = bool
        is_slow = self._strict.status == HEAD_TOO_SLOW.status
        self._door.lingering.take(transport, self.connection_lost, on_cut, is_slow=is_slow)

    def _watch_head(self) -> None:
        """Count the time for a head while one is awaited and uvicorn's own timer for idling does not run."""
        is_awaited = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not is_awaited:
            self._head_since_s = None
        elif self._head_since_s is None:
            self._head_since_s = self._door.clock.now_s()

    def _refuses(self, received: bytes, *, new_bytes: int | None = None) -> bool:
        """Refuse a head that ``check_head`` refuses; tell whether that was so."""
        try:
            check_head(received, new_bytes=new_bytes)
        except HeadRefused as refused:
            self._refuse(refused.kind, refused.detail, origin=origin_of(received))
            return True
        if self._is_one_too_many and b"\r\n\r\n" in received:
            self._turn_away(origin=origin_of(received))
            return True
        return False

    def _turn_away(self, *, origin: str | None = None) -> None:
        """Refuse a connection beyond the share of its address."""
        detail = f"One address may have {self._door.max_per_address} connections at a time. Close some first."
        self._refuse(TOO_MANY_CONNECTIONS, detail, headers={"Retry-After": "1"}, origin=origin)

    def _should_upgrade(self) -> bool:
        """Speak HTTP/1.1 to a client that offers another protocol, as RFC 9110, 7.8, lets a server do."""
        return False

    def _refuse(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
    ) -> None:
        """Answer where no request can be answered, and close."""
        if origin is None:
            is_awaited = self.conn.their_state is h11.IDLE
            origin = origin_of(self.conn.trailing_data[0]) if is_awaited else self._strict.origin
        self._door.on_closed(kind.slug)
        self._head_since_s = None
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self.conn.start_next_cycle()  # it is the next request that is refused
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = problem(
                kind,
                detail,
                request_id=request_id_from(None),
                headers={
                    **(headers or {}),
                    **refusal_headers(self._door.cors_origins, origin),
                    "Connection": "close",
                },
            )
            for event in (
                h11.Response(status_code=kind.status, headers=response.raw_headers),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _abort(self, reason: str) -> None:
        self._door.on_closed(reason)
        self.transport.abort()


def owner_of(address: str) -> str:
    """Return whom an address belongs to: itself, or of an IPv6 address the /64 that one client owns."""
    try:
        ip = ip_address(address)
    except ValueError:  # a Unix socket's client has none
        return ""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(IPv6Address(int(ip) >> 64 << 64))
    return str(ip)

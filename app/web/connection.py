"""Connection: uvicorn's HTTP/1.1 protocol with deadlines, and with strict parsing of each request.

uvicorn has a timeout for idle connections, but none for clients that send or read slowly, so fifty sockets
from one laptop could occupy the server for ever. Here each phase of a connection has its deadline:

    connected ──head──▶ request ──body (``receive.py``)──▶ response ──▶ idle ──head──▶ …
                                                              ├ the client must read each chunk in time
                                                              ├ before the end of the body: ``lingering.py``
                                                              └ after a half-close: ``half_closed.py``

Rule 1: a request head that two parsers could read differently is refused, because a proxy in front of the
server may have read it the other way (request smuggling): a bare CR or LF, folded lines, two definitions of
the body's length.
Rule 2: received bytes are parsed in slices of a few lines, and the event loop serves other connections in
between: a chunk of a body may be a single byte, and each chunk costs as much work as a large one.

``connection_limits.py`` has the deadlines and the limit for each address.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.web.connection_limits import ConnectionLimits, owner_of
from app.web.context import request_id_from
from app.web.cors import origin_of, refusal_headers
from app.web.disconnect import LOST_KEY
from app.web.half_closed import HalfClosed, was_reset
from app.web.problems import (
    HEAD_TOO_SLOW,
    MALFORMED,
    TOO_MANY_CONNECTIONS,
    ProblemKind,
    problem,
)
from app.web.strict_http import HeadRefused, StrictConnection, check_head
from app.web.transport import ConnectionTransport

ORIGIN_TIMEOUT_S = 1.0
"""Time for the head on a connection over the limit; its ``Origin`` decides who may read the refusal."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with a deadline for each phase and strict checks of each head."""

    def __init__(
        self, connection_limits: ConnectionLimits, app_state: dict[str, Any], **uvicorn_arguments: Any
    ) -> None:
        self._lost = asyncio.Event()
        super().__init__(app_state={**app_state, LOST_KEY: self._lost}, **uvicorn_arguments)
        self.conn = self._strict = StrictConnection(h11.SERVER)
        self._unread = bytearray()
        self._is_read_scheduled = False
        self._connection_limits = connection_limits
        self._owner = ""
        self._is_over_limit = False
        self._head_since_s: float | None = None
        self._is_refused = False
        self._half_closed: HalfClosed | None = None
        self._write_since_s: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Count the connection, and refuse it if its address has too many."""
        self._own_transport = ConnectionTransport(transport, self._is_client_sending, self._linger)
        super().connection_made(self._own_transport)  # type: ignore[arg-type] # a proxy of the transport
        self._owner = owner_of(self.client[0]) if self.client else ""
        self._is_over_limit = self._connection_limits.add(self, self._owner)
        self._head_since_s = self._connection_limits.clock.now_s()
        if self._is_over_limit and self._connection_limits.cors_origins is None:
            self._refuse_over_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the counts."""
        self._connection_limits.remove(self, self._owner)
        super().connection_lost(exc)
        self._lost.set()
        self._own_transport.drop_callbacks()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, or queue them behind those that are being parsed."""
        if self._unread:
            self._unread += data
            return
        stop = self._strict.slice_end(data)
        if stop < len(data):
            self._unread += data[stop:]
            self._schedule_read()
        self._parse(data[:stop])

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio keeps the transport if it is true
        """Keep the connection for the response if the client half-closes it after a complete request."""
        if not self._is_responding_to_complete_request():
            return False
        if self._half_closed is None:
            self._half_closed = HalfClosed(self.loop, self.conn, self._own_transport)
        return True

    def _is_responding_to_complete_request(self) -> bool:
        is_responding = self.cycle is not None and not self.cycle.response_complete
        return is_responding and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)

    def _schedule_read(self) -> None:
        """Parse the next slice after the loop's other callbacks; stop reading from the socket until then."""
        self._own_transport.hold_reading(is_held=True)
        if not self._is_read_scheduled:
            self._is_read_scheduled = True
            self.loop.call_soon(self._read_slice)

    def _read_slice(self) -> None:
        """Parse the next slice, unless it must wait for a response or is no longer needed."""
        self._is_read_scheduled = False
        if self._own_transport.is_closing() or not self._unread:
            self._unread.clear()
            return
        if self.conn.their_state is h11.DONE:
            return  # ``on_response_complete`` continues
        stop = self._strict.slice_end(self._unread)
        chunk = bytes(self._unread[:stop])
        del self._unread[:stop]
        if self.conn.their_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._unread.clear()  # nothing may follow the last request
            chunk = b""
        if self._unread:
            self._schedule_read()
        else:
            self._own_transport.hold_reading(is_held=False)
        if chunk:
            self._parse(chunk)

    def _parse(self, data: bytes) -> None:
        """Check a head before h11 parses it, and then the deadline for the next one."""
        before = self.conn.trailing_data[0]
        if self.conn.their_state is h11.IDLE and self._refuses(before + data, new_bytes=len(data)):
            return
        super().data_received(data)
        self._update_head_timer()
        self._extend_write_deadline()

    def on_response_complete(self) -> None:
        """Check the next head, which may have arrived together with the last request."""
        if not self._own_transport.is_closing() and self._refuses(self.conn.trailing_data[0]):
            return
        has_waited = self.conn.their_state is h11.DONE
        super().on_response_complete()
        self._update_head_timer()
        if has_waited and self._unread and not self._own_transport.is_closing():
            self._schedule_read()
        elif self._half_closed is not None and not self._is_responding_to_complete_request():
            self.transport.close()  # the client cannot send another request

    def pause_writing(self) -> None:
        """Start the deadline for a slow reader."""
        super().pause_writing()
        self._write_since_s = self._connection_limits.clock.now_s()

    def resume_writing(self) -> None:
        """Stop the deadline for a slow reader."""
        super().resume_writing()
        self._write_since_s = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - our own detail says more
        """Refuse bytes that are not HTTP, or a head that follows a body."""
        refused = self._strict.refused
        if refused is not None:
            self._refuse(refused.kind, refused.detail)
            return
        self._refuse(MALFORMED, "This is not an HTTP request that can be read in one way only.")

    def check_deadlines(self, now_s: float) -> None:
        """Close the connection if its client has missed a deadline."""
        if self.flow.read_paused:
            self._extend_write_deadline()
        if self._has_passed(self._write_since_s, now_s, self._connection_limits.write_timeout_s):
            self._abort("slow-reader")
        elif self.flow.read_paused and was_reset(self._own_transport):
            self.transport.abort()  # asyncio does not notice it while it does not read
        elif self.transport.is_closing() and not self._own_transport.is_lingering:
            # Closing waits until the client has read the last bytes, which may never happen.
            self._write_since_s = self._write_since_s or now_s
        elif self._is_over_limit and self._has_passed(self._head_since_s, now_s, ORIGIN_TIMEOUT_S):
            self._refuse_over_limit()
        elif self._has_passed(self._head_since_s, now_s, self._connection_limits.head_timeout_s):
            self._refuse(HEAD_TOO_SLOW, "The request's headers did not arrive in time.")

    def _extend_write_deadline(self) -> None:
        """Give a client that is still sending its body more time to read the response.

        Many clients read nothing before they have sent everything. The deadline is for clients that do
        neither, and not while the server itself has paused reading.
        """
        if self._write_since_s is not None and self.conn.their_state is h11.SEND_BODY:
            self._write_since_s = self._connection_limits.clock.now_s()

    @staticmethod
    def _has_passed(since_s: float | None, now_s: float, timeout_s: float) -> bool:
        return since_s is not None and now_s - since_s > timeout_s

    def _is_client_sending(self) -> bool:
        """Return whether the client may still be sending: a body, or anything after a refused head."""
        return self._is_refused or self.conn.their_state is h11.SEND_BODY or self._strict.had_trailer

    def _linger(self, transport: Any) -> None:
        self._head_since_s = self._write_since_s = None
        self._unread.clear()
        if self.cycle is not None:  # free the received part of the body while the client lingers
            self.cycle.body = bytearray()
        on_abort: Callable[[], object] = partial(self._connection_limits.on_closed, "slow-body")
        if self._is_refused:  # already counted as a refusal
            on_abort = bool
        is_slow = self._strict.status == HEAD_TOO_SLOW.status
        self._connection_limits.lingering.add(transport, self.connection_lost, on_abort, is_slow=is_slow)

    def _update_head_timer(self) -> None:
        """Measure the time for a head while one is expected and uvicorn's idle timer does not run."""
        is_expected = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not is_expected:
            self._head_since_s = None
        elif self._head_since_s is None:
            self._head_since_s = self._connection_limits.clock.now_s()

    def _refuses(self, received: bytes, *, new_bytes: int | None = None) -> bool:
        """Refuse a head that fails ``check_head`` or is over the limit; return whether it was refused."""
        try:
            check_head(received, new_bytes=new_bytes)
        except HeadRefused as refused:
            self._refuse(refused.kind, refused.detail, origin=origin_of(received))
            return True
        if self._is_over_limit and b"\r\n\r\n" in received:
            self._refuse_over_limit(origin=origin_of(received))
            return True
        return False

    def _refuse_over_limit(self, *, origin: str | None = None) -> None:
        """Refuse a connection over the limit of its address."""
        limit = self._connection_limits.max_per_address
        detail = f"One address may have {limit} connections at a time. Close some first."
        self._refuse(TOO_MANY_CONNECTIONS, detail, headers={"Retry-After": "1"}, origin=origin)

    def _should_upgrade(self) -> bool:
        """Ignore upgrade offers and speak HTTP/1.1, which RFC 9110, 7.8, allows."""
        return False

    def _refuse(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
    ) -> None:
        """Send a problem outside of a request, and close the connection."""
        if origin is None:
            is_expected = self.conn.their_state is h11.IDLE
            origin = origin_of(self.conn.trailing_data[0]) if is_expected else self._strict.origin
        self._connection_limits.on_closed(kind.slug)
        self._head_since_s = None
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self.conn.start_next_cycle()  # the refusal is for the next request
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            cors_headers = refusal_headers(self._connection_limits.cors_origins, origin)
            self._send_problem(kind, detail, {**(headers or {}), **cors_headers, "Connection": "close"})
        self.transport.close()

    def _send_problem(self, kind: ProblemKind, detail: str, headers: dict[str, str]) -> None:
        response = problem(kind, detail, request_id=request_id_from(None), headers=headers)
        for event in (
            h11.Response(status_code=kind.status, headers=response.raw_headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")

    def _abort(self, reason: str) -> None:
        self._connection_limits.on_closed(reason)
        self.transport.abort()

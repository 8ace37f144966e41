"""Drain: graceful shutdown, which finishes accepted requests and does not refuse new ones too early.

    serving ──begin──▶ leaving ──after the delay──▶ refusing ──nothing in flight, or out of time──▶ over

Leaving: requests are still served, every response has ``Connection: close``, and ``/readyz`` is red, so that
load balancers stop sending requests. Refusing: new requests get 503, and accepted ones are finished.
``Drain`` has the state; ``DrainGate`` applies it to each request, and the server process
(``app/cli/worker.py``) to signals and sockets.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine.clock import Clock
from app.errors import NotReady
from app.web.body_end import BodyEnd
from app.web.endpoints.table import is_probe_at
from app.web.lingering import DropRate
from app.web.problems import ProblemWall, Renderers


class Phase(Enum):
    """The phases of a shutdown."""

    SERVING = "serving"
    LEAVING = "leaving"
    REFUSING = "refusing"


class Drain:
    """The state of a server's shutdown: when it began, and which requests are in flight."""

    def __init__(self, clock: Clock, *, delay_s: float, timeout_s: float) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._timeout_s = timeout_s
        self._refuses_at_s: float | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, *, skips_delay: bool = False) -> None:
        """Begin the shutdown; only the first call counts. Safe in a signal handler."""
        if self._refuses_at_s is None:
            self._refuses_at_s = self._clock.now_s() + (0.0 if skips_delay else self._delay_s)

    @property
    def has_begun(self) -> bool:
        """Whether the shutdown has begun."""
        return self._refuses_at_s is not None

    @property
    def phase(self) -> Phase:
        """The current phase."""
        if self._refuses_at_s is None:
            return Phase.SERVING
        return Phase.LEAVING if self._clock.now_s() < self._refuses_at_s else Phase.REFUSING

    @property
    def in_flight(self) -> int:
        """The number of accepted requests without a complete response."""
        return len(self._tasks)

    def remaining_s(self) -> float:
        """Return the seconds until the drain ends even with requests in flight; infinite while serving."""
        if self._refuses_at_s is None:
            return float("inf")
        return max(0.0, self._refuses_at_s + self._timeout_s - self._clock.now_s())

    def is_over(self) -> bool:
        """Return whether the process may exit: nothing is in flight, or time is up."""
        return self.phase is Phase.REFUSING and (not self._tasks or self.remaining_s() == 0)

    @contextmanager
    def tracking(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Count a request as in flight during the block."""
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def abandon(self) -> int:
        """Cancel all requests in flight, and return their number."""
        abandoned = tuple(self._tasks)
        for task in abandoned:
            task.cancel("the drain is out of time")
        return len(abandoned)


class DrainGate:
    """Pure ASGI, outside ``ProblemWall``: serves or refuses a request, depending on the phase."""

    def __init__(self, app: ASGIApp, *, drain: Drain, renderers: Renderers, rate: DropRate) -> None:
        self._app = app
        self._drain = drain
        self._refusal = ProblemWall(_refuse, renderers=renderers)
        self._refusal_after_body = BodyEnd(self._refusal, rate=rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_with_close(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if self._drain.has_begun:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        if is_probe_at(scope["path"]):  # served in every phase: /livez is green, /readyz is red
            await self._app(scope, receive, send_with_close)
            return
        try:
            await self._serve_or_refuse(scope, receive, send_with_close)
        except asyncio.CancelledError:
            # Cancelled at the end of the drain: send a response, but do not wait for the body.
            if not self._drain.is_over():
                raise
            if not has_begun:
                await self._refusal(scope, _receive_disconnect, send_with_close)

    async def _serve_or_refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._drain.phase is Phase.REFUSING:
            await self._refusal_after_body(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a running coroutine always has a task
        with self._drain.tracking(task):
            await self._app(scope, receive, send)


async def _refuse(*_: object) -> None:
    raise NotReady("The server is stopping. Send the request again; another one will take it.")


async def _receive_disconnect() -> Message:
    return {"type": "http.disconnect"}

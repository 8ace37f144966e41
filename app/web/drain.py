"""Drain: a server that is told to stop finishes what it accepted, and turns nobody away too early.

    serving ──begin──▶ leaving ──after the delay──▶ refusing ──nothing in flight, or out of time──▶ over

Leaving: requests are served as ever and every answer says ``Connection: close``, while whoever
routes traffic here learns from ``/readyz`` to stop. Refusing: new requests get 503 and those that
were accepted are finished. ``Drain`` decides; ``DrainGate`` carries out what concerns one request,
and the process (``app/cli/worker.py``) what concerns signals and sockets.
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
    """Where a server stands between the signal and its end."""

    SERVING = "serving"
    LEAVING = "leaving"
    REFUSING = "refusing"


class Drain:
    """The state of one server's end: when it was told to stop, and which requests it still carries."""

    def __init__(self, clock: Clock, *, delay_s: float, timeout_s: float) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._timeout_s = timeout_s
        self._refuses_at_s: float | None = None
        self._carried: set[asyncio.Task[Any]] = set()

    def begin(self, *, skips_delay: bool = False) -> None:
        """Start to leave; only the first call counts. Safe in a signal handler."""
        if self._refuses_at_s is None:
            self._refuses_at_s = self._clock.now_s() + (0.0 if skips_delay else self._delay_s)

    @property
    def has_begun(self) -> bool:
        """Whether the server was told to stop."""
        return self._refuses_at_s is not None

    @property
    def phase(self) -> Phase:
        """Where the server stands now."""
        if self._refuses_at_s is None:
            return Phase.SERVING
        return Phase.LEAVING if self._clock.now_s() < self._refuses_at_s else Phase.REFUSING

    @property
    def in_flight(self) -> int:
        """Requests that were accepted and are not answered yet."""
        return len(self._carried)

    def remaining_s(self) -> float:
        """Return the seconds until the drain is over whatever is in flight; infinite while serving."""
        if self._refuses_at_s is None:
            return float("inf")
        return max(0.0, self._refuses_at_s + self._timeout_s - self._clock.now_s())

    def is_over(self) -> bool:
        """Tell whether the process may end: nothing is in flight any more, or time is up."""
        return self.phase is Phase.REFUSING and (not self._carried or self.remaining_s() == 0)

    @contextmanager
    def carrying(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Count a request as in flight for as long as the block runs."""
        self._carried.add(task)
        try:
            yield
        finally:
            self._carried.discard(task)

    def abandon(self) -> int:
        """Give up every request that is still in flight, and return how many there were."""
        abandoned = tuple(self._carried)
        for task in abandoned:
            task.cancel("the drain is out of time")
        return len(abandoned)


class DrainGate:
    """Pure ASGI, outside the wall: serves, says goodbye or refuses, as the phase has it."""

    def __init__(self, app: ASGIApp, *, drain: Drain, renderers: Renderers, rate: DropRate) -> None:
        self._app = app
        self._drain = drain
        self._refusal = ProblemWall(_refuse, renderers=renderers)
        self._patient_refusal = BodyEnd(self._refusal, rate=rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def say_goodbye(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if self._drain.has_begun:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        if is_probe_at(scope["path"]):  # it answers for itself in every phase: /livez green, /readyz red
            await self._app(scope, receive, say_goodbye)
            return
        try:
            await self._serve_or_refuse(scope, receive, say_goodbye)
        except asyncio.CancelledError:
            # The end of the drain ends what is left; that deserves an answer, and no time to linger.
            if not self._drain.is_over():
                raise
            if not has_begun:
                await self._refusal(scope, _nothing_more, say_goodbye)

    async def _serve_or_refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._drain.phase is Phase.REFUSING:
            await self._patient_refusal(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is run by a task
        with self._drain.carrying(task):
            await self._app(scope, receive, send)


async def _refuse(*_: object) -> None:
    raise NotReady("The server is stopping. Send the request again; another one will take it.")


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}

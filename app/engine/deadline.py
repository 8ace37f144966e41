"""Deadline: a block that runs out of time raises ``DeadlineExceeded``, and its work on threads stops soon.

Rule: the client gets its response at the deadline, even while a worker thread still runs. The thread's loops
call ``Patience.check`` now and then, which raises once the result is no longer needed.
"""

import asyncio
from dataclasses import dataclass

from app.engine.clock import Clock
from app.errors import DeadlineExceeded


class Abandoned(Exception):
    """The request was cancelled; raised on a worker thread to stop its work, and reported to no client."""


@dataclass(slots=True)
class Patience:
    """Lets work on other threads check whether its result is still needed.

    Attributes:
        clock: The source of time.
        deadline_s: The instant on that clock after which the result is useless.
        allowed_s: The time from the start of the request to its deadline, for the error's text.
        is_over: Whether the request was cancelled.
    """

    clock: Clock
    deadline_s: float
    allowed_s: float
    is_over: bool = False

    def check(self) -> None:
        """Raise if the result is no longer needed.

        Raises:
            Abandoned: The request was cancelled.
            DeadlineExceeded: The deadline has passed.
        """
        if self.is_over:
            raise Abandoned
        if self.clock.now_s() > self.deadline_s:
            raise DeadlineExceeded(self.allowed_s)


class Deadline:
    """An async context manager that raises ``DeadlineExceeded`` in its block after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._timeout.__aexit__(*error)  # type: ignore[arg-type] # passed through as received
        except TimeoutError as timeout:
            raise DeadlineExceeded(self._seconds) from timeout

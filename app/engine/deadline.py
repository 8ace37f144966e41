"""Deadline: a block that is not finished in time ends with an error of ours, and the work in it stops soon.

Rule: the caller is answered at the deadline, whatever a worker thread is in the middle of. The thread
learns of it by ``Patience``, which its loops check now and then.
"""

import asyncio
from dataclasses import dataclass

from app.engine.clock import Clock
from app.errors import DeadlineExceeded, Settled


class Abandoned(Settled):
    """Nobody waits for this work any more; raised on a worker thread, and heard by nobody."""


@dataclass(slots=True)
class Patience:
    """Tells work on other threads whether it is still waited for.

    Attributes:
        clock: The source of time.
        deadline_s: The instant on it after which the work is in vain.
        allowed_s: How long that was from the beginning, for the error's text.
        is_over: Whether the caller has left.
    """

    clock: Clock
    deadline_s: float
    allowed_s: float
    is_over: bool = False

    def check(self) -> None:
        """Raise if nobody waits any more.

        Raises:
            Abandoned: The caller has left.
            DeadlineExceeded: The deadline has passed.
        """
        if self.is_over:
            raise Abandoned
        if self.clock.now_s() > self.deadline_s:
            raise DeadlineExceeded(self.allowed_s)


class Deadline:
    """Ends the block with ``DeadlineExceeded`` after ``seconds``."""

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

"""Deadline: a block that is not finished in time ends with an error of ours."""

import asyncio

from app.errors import DeadlineExceeded


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

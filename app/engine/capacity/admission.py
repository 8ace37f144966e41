"""Admission: grants each request a permit before its picture is decoded, or refuses it at once.

Rule 1: the requests in flight never exceed the budgets, so memory is bounded.
Rule 2: a permit is released exactly once, however the request ends. If a response is sent while one of the
request's steps still runs, that step keeps the permit.
Not thread-safe: called on the event loop only. Nothing here waits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from app.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on the requests in flight, all together.

    ``memory_bytes`` counts pictures and the arrays made from them, in addition to ``upload_bytes``.
    """

    requests: int
    upload_bytes: int
    pixels: int
    memory_bytes: int


class Admission:
    """Grants permits while none of the four budgets is exhausted."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.requests = 0
        self.upload_bytes = 0
        self.pixels = 0
        self.memory_bytes = 0

    def enter(self) -> "Permit":
        """Return a permit for one request.

        Raises:
            Overloaded: The maximum number of requests is in flight.
        """
        self.check_requests()
        self.requests += 1
        return Permit(self)

    def check_requests(self) -> None:
        """Check whether ``enter`` would return a permit now.

        Raises:
            Overloaded: The maximum number of requests is in flight.
        """
        if self.requests >= self.budget.requests:
            raise Overloaded("requests in flight")

    def hold_response(self, size_bytes: int) -> Callable[[], None]:
        """Count a response's memory, and return a function that releases it, to call once it is written.

        This never refuses: its request held more memory while it rendered the response. Calling the function
        again has no effect.
        """
        self.memory_bytes += size_bytes
        held_bytes = size_bytes

        def release() -> None:
            nonlocal held_bytes
            self.memory_bytes -= held_bytes
            held_bytes = 0

        return release

    def saturation(self) -> float:
        """Return the used share of the budget closest to its limit, in [0, 1]."""
        return max(
            self.requests / self.budget.requests,
            self.upload_bytes / self.budget.upload_bytes,
            self.pixels / self.budget.pixels,
            self.memory_bytes / self.budget.memory_bytes,
        )


class Permit:
    """The bytes, pixels and memory that one request holds; a context manager that releases them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._upload_bytes = 0
        self._pixels = 0
        self._memory_bytes = 0
        self._holders = 1
        self._is_released = False

    def hold_bytes(self, count: int) -> None:
        """Take ``count`` more bytes from the budget for uploads.

        Raises:
            Overloaded: The budget has fewer left; earlier bytes stay held.
        """
        if self._admission.upload_bytes + count > self._admission.budget.upload_bytes:
            raise Overloaded("upload bytes in flight")
        self._admission.upload_bytes += count
        self._upload_bytes += count

    @contextmanager
    def holding_bytes(self, count: int) -> Iterator[None]:
        """Take ``count`` more bytes from the budget for uploads, until the end of the block.

        Raises:
            Overloaded: The budget has fewer left.
        """
        self.hold_bytes(count)
        try:
            yield
        finally:
            self.release_bytes(count)

    def release_bytes(self, count: int) -> None:
        """Give ``count`` of the held bytes back; no effect after the end of the request."""
        if self._holders > 0:
            self._admission.upload_bytes -= count
            self._upload_bytes -= count

    def hold_pictures(self, *, pixels: int, memory_bytes: int) -> None:
        """Take pixels and memory for pictures from their two budgets.

        Raises:
            Overloaded: One of the two has too little left; neither is changed.
        """
        if self._admission.pixels + pixels > self._admission.budget.pixels:
            raise Overloaded("pixels in flight")
        if self._admission.memory_bytes + memory_bytes > self._admission.budget.memory_bytes:
            raise Overloaded("memory for pictures")
        self._admission.pixels += pixels
        self._pixels += pixels
        self._admission.memory_bytes += memory_bytes
        self._memory_bytes += memory_bytes

    @property
    def pixels_in_flight(self) -> int:
        """The pixels that all requests hold together."""
        return self._admission.pixels

    def keep(self) -> Callable[[], None]:
        """Keep the permit until the returned function is called, even if the request ends earlier.

        For a step that cannot be stopped: its arrays live until it ends. Calling the function again has no
        effect.
        """
        self._holders += 1
        is_kept = True

        def release() -> None:
            nonlocal is_kept
            if is_kept:
                is_kept = False
                self._drop_holder()

        return release

    def release(self) -> None:
        """End the request's own hold; the budgets are released with the last ``keep``. Idempotent."""
        if not self._is_released:
            self._is_released = True
            self._drop_holder()

    def _drop_holder(self) -> None:
        self._holders -= 1
        if self._holders > 0:
            return
        self._admission.requests -= 1
        self._admission.upload_bytes -= self._upload_bytes
        self._admission.pixels -= self._pixels
        self._admission.memory_bytes -= self._memory_bytes

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

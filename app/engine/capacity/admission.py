"""Admission: a request gets a permit before its picture is decoded, or an answer at once.

Rule 1: what is in flight never exceeds the budgets, so memory has a ceiling.
Rule 2: a permit is given back exactly once, however the request ends. A request that is answered while one of
its steps still runs leaves its permit to that step.
Used from the event loop alone; nothing here waits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from app.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be in flight at any time.

    ``memory_bytes`` is for pictures and whatever is made of them, beside the ``upload_bytes``.
    """

    requests: int
    upload_bytes: int
    pixels: int
    memory_bytes: int


class Admission:
    """Grants permits as long as the four budgets last."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.requests = 0
        self.upload_bytes = 0
        self.pixels = 0
        self.memory_bytes = 0

    def enter(self) -> "Permit":
        """Take one place for a request.

        Raises:
            Overloaded: Every place is taken.
        """
        if self.requests >= self.budget.requests:
            raise Overloaded("requests in flight")
        self.requests += 1
        return Permit(self)

    def hold_response(self, size_bytes: int) -> Callable[[], None]:
        """Count an answer into the memory until the function that is returned is called: when it is written.

        It is never refused: while it is made, its request holds more than that. A second call does nothing.
        """
        self.memory_bytes += size_bytes
        left_bytes = size_bytes

        def let_go() -> None:
            nonlocal left_bytes
            self.memory_bytes -= left_bytes
            left_bytes = 0

        return let_go

    def saturation(self) -> float:
        """Return the share of the scarcest budget that is in use, in [0, 1]."""
        return max(
            self.requests / self.budget.requests,
            self.upload_bytes / self.budget.upload_bytes,
            self.pixels / self.budget.pixels,
            self.memory_bytes / self.budget.memory_bytes,
        )


class Permit:
    """The right of one request to hold bytes and pixels; a context manager that gives them back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._upload_bytes = 0
        self._pixels = 0
        self._memory_bytes = 0
        self._holders = 1
        self._is_released = False

    def hold_bytes(self, count: int) -> None:
        """Take ``count`` more bytes of the budget for uploads.

        Raises:
            Overloaded: The budget does not have them; what was taken before stays taken.
        """
        if self._admission.upload_bytes + count > self._admission.budget.upload_bytes:
            raise Overloaded("upload bytes in flight")
        self._admission.upload_bytes += count
        self._upload_bytes += count

    @contextmanager
    def holding_bytes(self, count: int) -> Iterator[None]:
        """Take ``count`` more bytes of the budget for uploads, for as long as the block runs.

        Raises:
            Overloaded: The budget does not have them.
        """
        self.hold_bytes(count)
        try:
            yield
        finally:
            if self._holders > 0:
                self._admission.upload_bytes -= count
                self._upload_bytes -= count

    def hold_pictures(self, *, pixels: int, memory_bytes: int) -> None:
        """Take what pictures need of the budgets for pixels and for memory.

        Raises:
            Overloaded: One of the two does not have as much; neither is touched.
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
        """How many pixels all requests together hold."""
        return self._admission.pixels

    def keep(self) -> Callable[[], None]:
        """Keep what is held until the function that is returned is called, even if the request ends before.

        For a step that cannot be stopped: its arrays live until it ends. A second call of the function does
        nothing.
        """
        self._holders += 1
        is_kept = True

        def let_go() -> None:
            nonlocal is_kept
            if is_kept:
                is_kept = False
                self._leave()

        return let_go

    def release(self) -> None:
        """End the request's own part; what is held goes back with the last ``keep``. May be called again."""
        if not self._is_released:
            self._is_released = True
            self._leave()

    def _leave(self) -> None:
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

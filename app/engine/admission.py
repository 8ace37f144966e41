"""Admission: a request gets a permit before its picture is decoded, or an answer at once.

Rule 1: what is in flight never exceeds the budgets, so memory has a ceiling.
Rule 2: a permit is given back exactly once, however the request ends.
Used from the event loop alone; nothing here waits.
"""

from dataclasses import dataclass
from types import TracebackType

from app.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be in flight at any time."""

    requests: int
    upload_bytes: int
    pixels: int


class Admission:
    """Grants permits as long as the three budgets last."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.requests = 0
        self.upload_bytes = 0
        self.pixels = 0

    def enter(self) -> "Permit":
        """Take one place for a request.

        Raises:
            Overloaded: Every place is taken.
        """
        if self.requests >= self.budget.requests:
            raise Overloaded("requests in flight")
        self.requests += 1
        return Permit(self)

    def saturation(self) -> float:
        """Return the share of the scarcest budget that is in use, in [0, 1]."""
        return max(
            self.requests / self.budget.requests,
            self.upload_bytes / self.budget.upload_bytes,
            self.pixels / self.budget.pixels,
        )


class Permit:
    """The right of one request to hold bytes and pixels; a context manager that gives them back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._upload_bytes = 0
        self._pixels = 0
        self._is_held = True

    def hold_bytes(self, count: int) -> None:
        """Take ``count`` more bytes of the budget.

        Raises:
            Overloaded: The budget does not have them; what was taken before stays taken.
        """
        if self._admission.upload_bytes + count > self._admission.budget.upload_bytes:
            raise Overloaded("upload bytes in flight")
        self._admission.upload_bytes += count
        self._upload_bytes += count

    def hold_pixels(self, count: int) -> None:
        """Take ``count`` more pixels of the budget.

        Raises:
            Overloaded: The budget does not have them; what was taken before stays taken.
        """
        if self._admission.pixels + count > self._admission.budget.pixels:
            raise Overloaded("pixels in flight")
        self._admission.pixels += count
        self._pixels += count

    @property
    def pixels_in_flight(self) -> int:
        """How many pixels all requests together hold."""
        return self._admission.pixels

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        if not self._is_held:
            return
        self._is_held = False
        self._admission.requests -= 1
        self._admission.upload_bytes -= self._upload_bytes
        self._admission.pixels -= self._pixels

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

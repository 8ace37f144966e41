"""Lanes: the executor threads of a batcher, and whether their runs take too long.

There is a lane for short runs and one for long runs, so that a short run need not wait for the end of a long
one. Both use all cores; on Linux the threads of long runs have a lower priority (``docs/adr/0022``).
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.engine.batching.planning import CostTable, Ticket
from app.engine.models.backend import Run
from app.engine.threads.priority import LONG_RUN_NICENESS, lower_priority

MIN_PAUSE_S = 0.001
"""A pause that is rounded to nothing would make the executor spin."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """A run is late after ``factor`` times its usual duration, but never before ``floor_s``."""

    factor: float
    floor_s: float


OVERDUE = Lateness(3, 1.5)
HANG = Lateness(10, 3.0)


@dataclass(eq=False, slots=True)
class Running:
    """A run in progress; ``delayed_s`` is how long short runs have delayed it, if it is a long one."""

    tickets: Sequence[Ticket]
    run: Run
    size: int
    since_s: float
    delayed_s: float = 0.0

    @property
    def model(self) -> str:
        """The model that runs."""
        return self.tickets[0].model

    def is_useless(self) -> bool:
        """Return whether all of its tickets are cancelled."""
        return all(ticket.is_abandoned for ticket in self.tickets)


class Lane:
    """One executor thread; ``serve`` is called on it with the lane."""

    def __init__(self, serve: Callable[["Lane"], None], *, is_long: bool) -> None:
        self.is_long = is_long
        self.running: Running | None = None
        self.pause_s: float | None = None
        self._serve = serve
        name = "cutout-long-runs" if is_long else "cutout-executor"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread, if it was started."""
        if self._thread.is_alive():
            self._thread.join()

    def pause(self, now_s: float, look_again_s: float | None) -> None:
        """Set how long the thread waits if nothing changes before; None is for ever."""
        self.pause_s = None if look_again_s is None else max(MIN_PAUSE_S, look_again_s - now_s)

    def yield_to_others(self) -> None:
        """Lower the priority of its thread further, on which this must be called, to that of long runs."""
        if threading.current_thread() is self._thread:
            lower_priority(LONG_RUN_NICENESS)

    @property
    def is_dead(self) -> bool:
        """Whether the thread was started and has ended."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def is_late(self, now_s: float, costs: CostTable, lateness: Lateness) -> bool:
        """Return whether the current run takes far longer than usual."""
        running = self.running
        if running is None:
            return False
        usual_s = costs.run_s(running.model, running.size)
        return now_s - running.since_s - running.delayed_s > max(lateness.floor_s, lateness.factor * usual_s)

    def _work(self) -> None:
        lower_priority()
        self._serve(self)

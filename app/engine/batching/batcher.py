"""Batcher: executes the plans of ``planning.py``, on one thread per device.

Rule 1: each ticket is settled exactly once.
Rule 2: one bad picture fails alone. A failing batch is halved until the picture at fault is isolated.
Rule 3: a run is aborted when all of its tickets are cancelled, and only then.
Rule 4: the next run starts while the results of the last one are still being delivered.
Rule 5: a run that takes far longer than usual is treated as a hang. ``is_overdue`` reports it early, which
may be a false alarm on a busy machine; ``is_stuck`` reports it once a false alarm is ruled out.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.planning import BatchLimits, CostTable, Inferred, Plan, Reason, Ticket, plan_batch
from app.engine.clock import Clock
from app.engine.models.backend import Backend, BatchObserver, Run
from app.engine.threads.priority import lower_priority
from app.errors import CutoutError, DeadlineExceeded, InferenceFailed, NotReady, Overloaded

OVERDUE_FACTOR, OVERDUE_FLOOR_S = 3, 1.5
HANG_FACTOR, HANG_FLOOR_S = 10, 3.0
"""A run is overdue, or hung, after this many times its usual duration, but never before the floor."""


@dataclass(frozen=True, slots=True)
class _Running:
    tickets: Sequence[Ticket]
    run: Run
    size: int
    since_s: float


class Batcher:
    """One queue and one executor thread; ``submit`` and ``abandon`` are thread-safe."""

    threads = 1

    def __init__(
        self,
        backend: Backend,
        limits: BatchLimits,
        clock: Clock,
        observer: BatchObserver,
        costs: CostTable = CostTable({}),  # noqa: B008 - frozen
    ) -> None:
        self.costs = costs
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._waiting: list[Ticket] = []
        self._used_s: dict[str, float] = {}
        self._busy_s = 0.0
        self._running: _Running | None = None
        self._pause_s: float | None = None
        self._changed = threading.Condition()
        self._is_stopping = False
        self._helper: ThreadPoolExecutor | None = None
        self._thread = threading.Thread(target=self._serve, name="cutout-executor", daemon=True)

    def start(self) -> None:
        """Start the executor thread."""
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="cutout-settle")
        self._thread.start()

    def stop(self) -> None:
        """Refuse new tickets, run those in the queue, and join the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._helper is not None:
            self._helper.shutdown()

    def submit(
        self, model: str, network_input: NetworkInput, *, deadline_s: float, is_background: bool = False
    ) -> Ticket:
        """Queue one picture.

        Args:
            model: The name of a loaded model.
            network_input: uint8 (S, S, 3).
            deadline_s: Instant of the batcher's clock after which the result is useless.
            is_background: Whether other pictures go first.

        Returns:
            A ticket whose future resolves to the saliency, ``DeadlineExceeded`` or ``InferenceFailed``.

        Raises:
            Overloaded: The queue is full.
            NotReady: The batcher is stopping.
        """
        ticket = Ticket(model, network_input, self._clock.now_s(), deadline_s, is_background)
        with self._changed:
            if self._is_stopping:
                raise NotReady("The server is stopping.")
            if len(self._waiting) >= self._limits.max_waiting:
                raise Overloaded("pictures waiting")
            self._catch_up(model)
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def abandon(self, ticket: Ticket) -> None:
        """Cancel a ticket: it leaves the queue, and a run whose tickets are all cancelled is aborted."""
        with self._changed:
            ticket.is_abandoned = True
            ticket.future.cancel()
            running = self._running
            if running is not None and all(t.is_abandoned for t in running.tickets):
                running.run.abort()
            self._changed.notify()

    def step(self) -> bool:
        """Execute one plan now, without waiting, and return whether there was anything to do."""
        with self._changed:
            plan = self._take_plan()
        return plan is not None and self._carry_out(plan)

    def is_overdue(self) -> bool:
        """Return whether the executor may hang: its thread is dead, or a run should have ended."""
        return self._is_late(OVERDUE_FACTOR, OVERDUE_FLOOR_S)

    def is_stuck(self) -> bool:
        """Return whether the executor hangs: its thread is dead, or a run takes many times the usual."""
        return self._is_late(HANG_FACTOR, HANG_FLOOR_S)

    def _is_late(self, factor: float, floor_s: float) -> bool:
        running = self._running
        if running is None:
            return self._thread.ident is not None and not self._thread.is_alive() and not self._is_stopping
        usual_s = self.costs.run_s(running.tickets[0].model, running.size)
        return self._clock.now_s() - running.since_s > max(floor_s, factor * usual_s)

    @property
    def max_batch(self) -> int:
        """The maximum number of pictures in one run."""
        return self._limits.max_batch

    @property
    def waiting(self) -> int:
        """The number of pictures in the queue."""
        return len(self._waiting)

    def oldest_age_s(self, model: str) -> float:
        """Return how long the oldest picture in a model's queue has waited, 0 if the queue is empty."""
        now_s = self._clock.now_s()
        return next((now_s - ticket.arrived_s for ticket in self._waiting if ticket.model == model), 0.0)

    def busy_s(self) -> float:
        """Return the seconds spent in runs so far, including the current run."""
        with self._changed:
            running = self._running
            current_s = 0.0 if running is None else self._clock.now_s() - running.since_s
            return self._busy_s + current_s

    def per_picture_s(self, model: str) -> float:
        """Return the expected device time of one picture."""
        return self.costs.per_picture_s(model, self._limits.max_batch)

    def learn_costs(self, model: str, seconds: Mapping[int, float]) -> None:
        """Store the measured seconds of a newly warmed model's runs, by batch size."""
        self.costs = CostTable({**self.costs.seconds, model: seconds})

    def _catch_up(self, model: str) -> None:
        """Give a model no fair-share credit for the time it was idle."""
        waiting = {ticket.model for ticket in self._waiting}
        if model not in waiting:
            min_s = min((self._used_s.get(name, 0.0) for name in waiting), default=0.0)
            self._used_s[model] = max(self._used_s.get(model, 0.0), min_s)

    def _serve(self) -> None:
        lower_priority()
        while True:
            with self._changed:
                while (plan := self._take_plan()) is None:
                    if self._is_stopping and not self._waiting:
                        return
                    self._changed.wait(self._pause_s)
            self._carry_out(plan)

    def _take_plan(self) -> Plan | None:
        """Plan, and remove the planned tickets from the queue; ``None`` if there are none. Needs the lock."""
        now_s = self._clock.now_s()
        plan = plan_batch(
            self._waiting, now_s, self._limits, self.costs, self._used_s, is_last=self._is_stopping
        )
        self._pause_s = None if plan.look_again_s is None else plan.look_again_s - now_s
        taken = {id(t) for t in (*plan.cancelled, *plan.expired, *plan.batch)}
        if not taken:
            return None
        self._waiting = [t for t in self._waiting if id(t) not in taken]
        return plan

    def _carry_out(self, plan: Plan) -> bool:
        for ticket in plan.cancelled:
            ticket.future.cancel()
        for ticket in plan.expired:
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(DeadlineExceeded(ticket.deadline_s - ticket.arrived_s))
        claimed = [t for t in plan.batch if t.future.set_running_or_notify_cancel()]
        if claimed:
            self._run(claimed, plan.batch_size, plan.reason)
        return True

    def _run(self, batch: Sequence[Ticket], size: int, reason: Reason) -> None:
        """Run claimed tickets as one batch, and settle each of them."""
        model = batch[0].model
        self._observer.batch_sent(model, size=size, reason=reason)
        started_s = self._clock.now_s()
        try:
            run = self._backend.prepare_run(model, _stacked(batch, size))
            with self._changed:
                self._running = _Running(batch, run, size, started_s)
                if all(ticket.is_abandoned for ticket in batch):
                    run.abort()
            saliency = run.result()
        except Exception as error:  # noqa: BLE001 - the executor must survive any error of the runtime
            self._isolate(batch, error)
            return
        finally:
            ran_s = self._clock.now_s() - started_s
            with self._changed:
                self._running = None
                self._busy_s += ran_s
                self._used_s[model] = self._used_s.get(model, 0.0) + ran_s
        self._learn(model, size, ran_s)
        self._hand_out(batch, partial(self._settle, batch, size, saliency, (started_s, ran_s)))

    def _learn(self, model: str, size: int, ran_s: float) -> None:
        hang_s = max(OVERDUE_FLOOR_S, HANG_FACTOR * self.costs.run_s(model, size))
        if ran_s <= hang_s:  # the duration of a hang is not a cost
            self.costs = self.costs.observed(model, size, ran_s)

    def _hand_out(self, batch: Sequence[Ticket], settle: Callable[[], None]) -> None:
        """Settle a batch on the helper thread, but one picture here: a thread switch would cost more."""
        if self._helper is None or len(batch) == 1:
            settle()
            return
        self._helper.submit(settle)

    def _settle(
        self, batch: Sequence[Ticket], size: int, saliency: SaliencyMap, times_s: tuple[float, float]
    ) -> None:
        """Resolve each ticket with its map; ``times_s`` are the run's start and duration."""
        started_s, ran_s = times_s
        for ticket, item in zip(batch, saliency, strict=False):
            if np.isfinite(item).all():
                ticket.future.set_result(Inferred(item, len(batch), started_s - ticket.arrived_s, ran_s))
            else:
                ticket.future.set_exception(InferenceFailed("The network gave numbers that are not finite."))
        self._observer.batch_ran(batch[0].model, size=size, pictures=len(batch), duration_s=ran_s)

    def _isolate(self, batch: Sequence[Ticket], error: Exception) -> None:
        """Halve a failing batch until the picture at fault is alone, so that the others get their results."""
        if len(batch) == 1 or all(ticket.is_abandoned for ticket in batch):
            for ticket in batch:
                ticket.future.set_exception(_failure(error))
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            self._run_in_time(half)

    def _run_in_time(self, batch: Sequence[Ticket]) -> None:
        """Run the claimed tickets whose deadline has not passed in the meantime."""
        now_s = self._clock.now_s()
        alive = [ticket for ticket in batch if ticket.deadline_s > now_s]
        for ticket in batch:
            if ticket.deadline_s <= now_s:
                ticket.future.set_exception(DeadlineExceeded(ticket.deadline_s - ticket.arrived_s))
        if alive:
            self._run(alive, len(alive), "retry")


def _failure(error: Exception) -> CutoutError | MemoryError:
    if isinstance(error, CutoutError | MemoryError):
        return error
    failure = InferenceFailed("The run failed, or was aborted because its tickets were cancelled.")
    failure.__cause__ = error
    return failure


def _stacked(batch: Sequence[Ticket], size: int) -> NetworkInput:
    """Stack pictures into a batch of ``size``; padding is black."""
    stacked = np.zeros((size, *batch[0].network_input.shape), batch[0].network_input.dtype)
    for index, ticket in enumerate(batch):
        stacked[index] = ticket.network_input
    return stacked

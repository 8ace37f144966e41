"""Batcher: executes the plans of ``planning.py``, on a thread per device, and one more for long runs.

Rule 1: each ticket is settled exactly once.
Rule 2: one bad picture fails alone. A failing batch is halved until the picture at fault is isolated.
Rule 3: a run is aborted when all of its tickets are cancelled, and only then.
Rule 4: the next run starts while the results of the last one are still being delivered.
Rule 5: a run that takes far longer than usual is treated as a hang. ``is_overdue`` reports it early, which
may be a false alarm on a busy machine; ``is_stuck`` reports it once a false alarm is ruled out.
Rule 6: with ``overtakes``, short runs share the device with a long one (``lanes.py``), at most one of each.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.device_time import DeviceTime
from app.engine.batching.lanes import HANG, OVERDUE, Lane, Lateness, Running
from app.engine.batching.outcomes import expire, fail, resolve, stack
from app.engine.batching.planning import BatchLimits, CostTable, Plan, Reason, Ticket, plan_batch
from app.engine.clock import Clock
from app.engine.models.backend import Backend, BatchObserver
from app.errors import NotReady, Overloaded


class Batcher:
    """One queue and its executor threads; ``submit`` and ``abandon`` are thread-safe."""

    threads = 1

    def __init__(
        self,
        backend: Backend,
        limits: BatchLimits,
        clock: Clock,
        observer: BatchObserver,
        costs: CostTable = CostTable({}),  # noqa: B008 - frozen
        *,
        overtakes: bool = False,
    ) -> None:
        self.costs = costs
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._waiting: list[Ticket] = []
        self._overtakes = overtakes
        self._long: frozenset[str] = frozenset()
        self._time = DeviceTime()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._helper: ThreadPoolExecutor | None = None
        self._lanes = tuple(Lane(self._serve, is_long=is_long) for is_long in (False, True)[: 1 + overtakes])
        self._choose_lanes()

    def start(self) -> None:
        """Start the executor threads."""
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="cutout-settle")
        for lane in self._lanes:
            lane.start()

    def stop(self) -> None:
        """Refuse new tickets, run those in the queue, and join the threads."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.join()
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
            self._charge()
            self._time.join(model, {*(t.model for t in self._waiting), *(r.model for r in self.running)})
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def abandon(self, ticket: Ticket) -> None:
        """Cancel a ticket: it leaves the queue, and a run whose tickets are all cancelled is aborted."""
        with self._changed:
            ticket.is_abandoned = True
            ticket.future.cancel()
            for running in self.running:
                if running.is_useless():
                    running.run.abort()
            self._changed.notify_all()

    def step(self) -> bool:
        """Execute one plan now, without waiting, and return whether there was anything to do."""
        for lane in (lane for lane in self._lanes if lane.running is None):
            with self._changed:
                plan = self._take_plan(lane)
            if plan is not None:
                return self._carry_out(plan, lane)
        return False

    @property
    def running(self) -> tuple[Running, ...]:
        """The runs in progress, short ones first."""
        return tuple(lane.running for lane in self._lanes if lane.running is not None)

    def is_overdue(self) -> bool:
        """Return whether the executor may hang: its thread is dead, or a run should have ended."""
        return self._is_late(OVERDUE)

    def is_stuck(self) -> bool:
        """Return whether the executor hangs: its thread is dead, or a run takes many times the usual."""
        return self._is_late(HANG)

    def _is_late(self, lateness: Lateness) -> bool:
        now_s = self._clock.now_s()
        if any(lane.is_late(now_s, self.costs, lateness) for lane in self._lanes):
            return True
        return any(lane.is_dead for lane in self._lanes) and not self._is_stopping

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
            self._charge()
            return self._time.busy_s

    def per_picture_s(self, model: str) -> float:
        """Return the expected device time of one picture."""
        return self.costs.per_picture_s(model, self._limits.max_batch)

    def learn_costs(self, model: str, seconds: Mapping[int, float]) -> None:
        """Store the measured seconds of a newly warmed model's runs, by batch size."""
        with self._changed:
            self.costs = CostTable({**self.costs.seconds, model: seconds})
            self._choose_lanes()
            self._changed.notify_all()

    def is_long(self, model: str) -> bool:
        """Return whether the runs of a model share the device with the runs of others."""
        return model in self._long

    def _choose_lanes(self) -> None:
        """Find the models whose runs are long."""
        if self._overtakes:
            self._long = self.costs.long_models()

    def _charge(self) -> None:
        """Charge the time since the last event to the running models. Needs the lock."""
        delay_s = self._time.charge(self._clock.now_s(), [run.model for run in self.running])
        for running in self.running[-1:]:
            running.delayed_s += delay_s

    def _serve(self, lane: Lane) -> None:
        while True:
            with self._changed:
                while (plan := self._take_plan(lane)) is None:
                    if self._is_stopping and not self._waiting_in(lane):
                        return
                    self._changed.wait(lane.pause_s)
            self._carry_out(plan, lane)

    def _waiting_in(self, lane: Lane) -> list[Ticket]:
        return [ticket for ticket in self._waiting if self.is_long(ticket.model) is lane.is_long]

    def _take_plan(self, lane: Lane) -> Plan | None:
        """Plan, and remove the planned tickets from the queue; ``None`` if there are none. Needs the lock."""
        self._charge()
        now_s = self._clock.now_s()
        plan = plan_batch(
            self._waiting_in(lane),
            now_s,
            self._limits,
            self.costs,
            self._time.used_s,
            max_used_s=self._max_used_s(lane),
            is_last=self._is_stopping,
        )
        lane.pause(now_s, plan.look_again_s)
        taken = {id(t) for t in (*plan.cancelled, *plan.expired, *plan.batch)}
        if not taken:
            return None
        self._waiting = [t for t in self._waiting if id(t) not in taken]
        return plan

    def _max_used_s(self, lane: Lane) -> float:
        """Return how much device time a model of a lane may have used, while a long run is in progress."""
        long_run = self._lanes[-1].running
        if lane is self._lanes[-1] or long_run is None:
            return math.inf
        return self._time.used_s.get(long_run.model, 0.0) + self._limits.fair_share_s

    def _carry_out(self, plan: Plan, lane: Lane) -> bool:
        for ticket in plan.cancelled:
            ticket.future.cancel()
        expire(t for t in plan.expired if t.future.set_running_or_notify_cancel())
        claimed = [t for t in plan.batch if t.future.set_running_or_notify_cancel()]
        if claimed:
            self._run(claimed, plan.batch_size, plan.reason, lane)
        return True

    def _run(self, batch: Sequence[Ticket], size: int, reason: Reason, lane: Lane) -> None:
        """Run claimed tickets as one batch, and settle each of them."""
        model = batch[0].model
        self._observer.batch_sent(model, size=size, reason=reason)
        started_s = self._clock.now_s()
        try:
            if lane.is_long:  # at each run: a program outside may have changed the priorities
                lane.yield_to_others()
                self._backend.yield_to_others(model)
            run = self._backend.prepare_run(model, stack(batch, size))
            with self._changed:
                self._charge()
                lane.running = Running(batch, run, size, started_s)
                if lane.running.is_useless():
                    run.abort()
            saliency = run.result()
        except Exception as error:  # noqa: BLE001 - the executor must survive any error of the runtime
            self._isolate(batch, error, lane)
            return
        finally:
            ran_s = self._clock.now_s() - started_s
            with self._changed:
                self._charge()
                delayed_s = 0.0 if lane.running is None else lane.running.delayed_s
                lane.running = None
                self._changed.notify_all()  # a short run may have waited for the end of this long one
        self._learn(model, size, ran_s - delayed_s)
        self._hand_out(batch, partial(self._settle, batch, size, saliency, (started_s, ran_s)))

    def _learn(self, model: str, size: int, ran_s: float) -> None:
        hang_s = max(OVERDUE.floor_s, HANG.factor * self.costs.run_s(model, size))
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
        resolve(batch, saliency, *times_s)
        self._observer.batch_ran(batch[0].model, size=size, pictures=len(batch), duration_s=times_s[1])

    def _isolate(self, batch: Sequence[Ticket], error: Exception, lane: Lane) -> None:
        """Halve a failing batch until the picture at fault is alone, so that the others get their results."""
        if len(batch) == 1 or all(ticket.is_abandoned for ticket in batch):
            fail(batch, error)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            self._run_in_time(half, lane)

    def _run_in_time(self, batch: Sequence[Ticket], lane: Lane) -> None:
        """Run the claimed tickets whose deadline has not passed in the meantime."""
        now_s = self._clock.now_s()
        alive = [ticket for ticket in batch if ticket.deadline_s > now_s]
        expire(ticket for ticket in batch if ticket.deadline_s <= now_s)
        if alive:
            self._run(alive, len(alive), "retry", lane)

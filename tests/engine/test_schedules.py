"""Every schedule that Hypothesis can think of, in virtual time: what holds whatever happens."""

from concurrent.futures import CancelledError

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits, CostTable, Ticket
from app.engine.capacity.admission import Admission, Budget, Permit
from app.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from tests.fakes import ManualClock, RecordingObserver, SimulatedBackend, SimulatedRun

FAILS, POISONS, HANGS = 253, 254, 255
LONGEST_ESTIMATE_S = 0.01  # of the shortest run; runs take 0.006 s, give or take a half
BUDGET = Budget(requests=20, upload_bytes=2000, pixels=20_000, memory_bytes=40_000)
LIMITS = BatchLimits(max_batch=8, max_delay_s=0.0, max_waiting=16, patience_s=2.0, fair_share_s=0.05)


class Schedules(RuleBasedStateMachine):
    """Pictures arrive, leave, expire, run, fail and hang; the server drains at some point."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.backend = SimulatedBackend(
            alpha_s=0.005,
            beta_s=0.001,
            jitter=0.5,
            fail_at=frozenset({FAILS}),
            poison_at=frozenset({POISONS}),
            hang_at=frozenset({HANGS}),
            hang_s=3.0,
            spend=self._spend,
            on_run=self._watch,
        )
        costs = CostTable({"a": {1: 0.006, 2: 0.007, 4: 0.009, 8: 0.013}, "b": {1: 0.006}})
        self.batcher = Batcher(self.backend, LIMITS, self.clock, RecordingObserver(), costs)
        self.admission = Admission(BUDGET)
        self.held: dict[int, tuple[Ticket, Permit]] = {}
        self.arrived = 0
        self.outcomes: dict[str, int] = {}
        self.dispatched: dict[int, int] = {}
        self.every: list[Ticket] = []  # keeps each alive, so that no identity is used twice
        self.is_draining = False
        self.broken: list[str] = []

    def _spend(self, seconds: float) -> None:
        self.clock.advance(max(0.0, seconds))
        if seconds >= 3.0 and not self.batcher.is_stuck():
            self.broken.append("a hang must show")

    def _watch(self, run: SimulatedRun) -> None:
        """Look at what is being run, in the middle of the run."""
        # What is wrong is written down and judged later: an assertion here would look like a broken network.
        running = self.batcher._running
        assert running is not None
        order = [ticket.arrived_s for ticket in running.tickets]
        if order != sorted(order):
            self.broken.append("first come, first served within a bucket")
        if len({ticket.bucket for ticket in running.tickets}) != 1:
            self.broken.append("a batch is of one bucket")
        for ticket in running.tickets:
            if ticket.deadline_s <= running.since_s:
                self.broken.append("nothing is dispatched past its deadline")
            if any(
                t.bucket == ticket.bucket and t.arrived_s < ticket.arrived_s for t in self.batcher._waiting
            ):
                self.broken.append("nobody of the same bucket is overtaken")
            if self.dispatched.get(id(ticket), LIMITS.max_batch + 1) <= len(running.tickets):
                self.broken.append("a ticket runs again only in a smaller part of a batch that failed")
            self.dispatched[id(ticket)] = len(running.tickets)

    @rule(
        model=st.sampled_from("ab"),
        patience_s=st.sampled_from([0.001, 0.02, 1.0, 60.0]),
        kind=st.integers(0, 12),
    )
    def arrive(self, model: str, patience_s: float, kind: int) -> None:
        self.arrived += 1
        mark = {10: FAILS, 11: POISONS, 12: HANGS}.get(kind, kind)
        try:
            permit = self.admission.enter()
        except Overloaded:
            self._count("overloaded")
            return
        try:
            permit.hold_bytes(100)
            permit.hold_pictures(pixels=1000, memory_bytes=2000)
            ticket = self.batcher.submit(
                model, np.full((2, 2, 3), mark, np.uint8), deadline_s=self.clock.now_s() + patience_s
            )
        except (Overloaded, NotReady) as refusal:
            permit.release()
            self._count("not-ready" if isinstance(refusal, NotReady) else "overloaded")
            if isinstance(refusal, NotReady) and not self.is_draining:
                self.broken.append("only a draining server is not ready")
            return
        self.held[id(ticket)] = (ticket, permit)
        self.every.append(ticket)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 1000))
    def leave(self, which: int) -> None:
        ticket, permit = list(self.held.values())[which % len(self.held)]
        was_done = ticket.future.done()
        self.batcher.abandon(ticket)
        if not was_done:
            del self.held[id(ticket)]
            permit.release()
            self._count("departed")

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.03, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def executor_is_free(self) -> None:
        self.batcher.step()
        self._settle()

    @precondition(lambda self: not self.is_draining)
    @rule()
    def drain(self) -> None:
        self.is_draining = True
        self.batcher.stop()

    def _settle(self) -> None:
        for key, (ticket, permit) in list(self.held.items()):
            if not ticket.future.done():
                continue
            del self.held[key]
            permit.release()
            try:
                ticket.future.result(0)
                self._count("ok")
            except DeadlineExceeded:
                hopeful = ticket.deadline_s <= self.clock.now_s() + LONGEST_ESTIMATE_S
                assert hopeful, "only who is out of time, or will be, is told so"
                self._count("deadline-exceeded")
            except InferenceFailed:
                assert int(ticket.network_input[0, 0, 0]) in (FAILS, POISONS), "only the culprit fails"
                self._count("inference-failed")
            except CancelledError:
                self._count("departed")

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    @invariant()
    def what_arrived_has_one_outcome_or_is_in_flight(self) -> None:
        assert self.arrived == sum(self.outcomes.values()) + len(self.held)
        assert len(self.held) == self.admission.requests

    @invariant()
    def no_law_was_broken_in_a_run(self) -> None:
        assert self.broken == []

    @invariant()
    def budgets_hold(self) -> None:
        assert self.admission.upload_bytes == 100 * len(self.held) <= BUDGET.upload_bytes
        assert self.admission.pixels == 1000 * len(self.held) <= BUDGET.pixels
        assert self.admission.memory_bytes == 2000 * len(self.held) <= BUDGET.memory_bytes

    def teardown(self) -> None:
        """Whatever still waits is served in a bounded number of runs, and nothing stays behind."""
        for _ in range(3 * LIMITS.max_waiting + 3):
            self.batcher.step()
        self._settle()

        assert not self.held
        assert self.batcher.waiting == 0
        assert (self.admission.requests, self.admission.upload_bytes, self.admission.pixels) == (0, 0, 0)


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)

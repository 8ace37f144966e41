"""Runs of a long model share the device with short ones, in virtual time.

The device is simulated as the operating system shares it: while two runs are in progress, the short one
proceeds and the long one stands still.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.batching.batcher import Batcher
from app.engine.batching.device_time import OVERTAKING_SHARE
from app.engine.batching.planning import BatchLimits, CostTable, Ticket
from app.errors import DeadlineExceeded
from tests.fakes import ManualClock, RecordingObserver, SimulatedBackend, SimulatedRun
from tests.generated import examples

SHORT_S, LONG_S, FAIR_S = 0.1, 2.0, 0.5
LIMITS = BatchLimits(max_batch=1, max_delay_s=0.0, max_waiting=1000, fair_share_s=FAIR_S)
LATER_S = 1e9


class SharedDevice:
    """A batcher whose short runs proceed while a long one is in progress."""

    def __init__(self, *, gap_s: float = 0.0, closed_loop: bool = True) -> None:
        self.clock = ManualClock()
        backend = SimulatedBackend(on_run=self._run)
        costs = CostTable({"short": {1: SHORT_S}, "long": {1: LONG_S}})
        self.batcher = Batcher(backend, LIMITS, self.clock, RecordingObserver(), costs, overtakes=True)
        self.backend = backend
        self.gap_s = gap_s
        self.closed_loop = closed_loop
        self.latencies_s: list[float] = []
        self.long_took_s: list[float] = []

    def submit(self, model: str, deadline_s: float = LATER_S) -> Ticket:
        return self.batcher.submit(model, np.zeros((2, 2, 3), np.uint8), deadline_s=deadline_s)

    def _run(self, run: SimulatedRun) -> None:
        if run.model == "short":
            self.clock.advance(SHORT_S)
            return
        started_s, left_s = self.clock.now_s(), LONG_S
        next_s = started_s
        ticket: Ticket | None = None
        while left_s > 1e-9:
            now_s = self.clock.now_s()
            if ticket is None and self.closed_loop and now_s >= next_s:
                ticket = self.submit("short")
            if self.batcher.step():
                continue
            if ticket is not None and ticket.future.done():
                self.latencies_s.append(self.clock.now_s() - ticket.arrived_s)
                ticket, next_s = None, self.clock.now_s() + self.gap_s
                continue
            step_s = min(0.02, left_s)
            self.clock.advance(step_s)
            left_s -= step_s
        if ticket is not None:
            self.batcher.abandon(ticket)
        self.long_took_s.append(self.clock.now_s() - started_s)


def test_a_short_run_does_not_wait_for_the_end_of_a_long_one() -> None:
    device = SharedDevice(gap_s=0.2)
    device.submit("long")
    device.batcher.step()

    assert len(device.latencies_s) >= 8
    assert max(device.latencies_s) == pytest.approx(SHORT_S, abs=0.021)


@given(st.floats(0.0, 0.5), st.integers(1, 4))
@examples(0.25)
def test_neither_model_starves_however_busy_the_other_is(gap_s: float, long_runs: int) -> None:
    device = SharedDevice(gap_s=gap_s)
    for _ in range(long_runs):
        device.submit("long")
        device.batcher.step()

    assert max(device.long_took_s) <= LONG_S + OVERTAKING_SHARE * (LONG_S + FAIR_S) + 2 * SHORT_S
    assert max(device.latencies_s) <= SHORT_S * (1 + 1 / OVERTAKING_SHARE) + 0.021


def test_a_model_that_was_idle_for_long_does_not_starve_the_busy_one() -> None:
    backend = SimulatedBackend(alpha_s=SHORT_S)
    clock = ManualClock()
    backend.spend = clock.advance
    batcher = Batcher(backend, LIMITS, clock, RecordingObserver())
    for _ in range(100):
        batcher.submit("busy", np.zeros((2, 2, 3), np.uint8), deadline_s=LATER_S)
        batcher.step()
    for _ in range(50):
        batcher.submit("rare", np.zeros((2, 2, 3), np.uint8), deadline_s=LATER_S)
    busy = batcher.submit("busy", np.zeros((2, 2, 3), np.uint8), deadline_s=LATER_S)
    ran_before = 0
    while not busy.future.done():
        batcher.step()
        ran_before += 1

    assert ran_before <= 2 + FAIR_S / SHORT_S


def test_a_picture_that_is_held_back_expires_at_its_deadline() -> None:
    device = SharedDevice(closed_loop=False)
    held = device.submit("short", deadline_s=1.0)
    device.submit("long")
    device.batcher._time.used_s.update(short=10.0, long=0.0)
    long_lane = device.batcher._lanes[1]
    plan = device.batcher._take_plan(long_lane)
    assert plan is not None
    device.batcher._carry_out(plan, long_lane)

    assert isinstance(held.future.exception(0), DeadlineExceeded)


def test_only_a_model_much_longer_than_another_gives_way() -> None:
    costs = CostTable({"a": {1: 0.1}, "b": {1: 0.19}, "c": {1: 0.2, 2: 0.3}})

    assert costs.long_models() == {"c"}
    assert CostTable({"c": {1: 9.0}}).long_models() == frozenset()


def test_a_model_gives_way_once_a_much_shorter_one_is_loaded() -> None:
    backend = SimulatedBackend()
    batcher = Batcher(
        backend, LIMITS, ManualClock(), RecordingObserver(), CostTable({"long": {1: 2.0}}), overtakes=True
    )
    before = batcher.is_long("long")
    batcher.learn_costs("short", {1: 0.1})

    assert (before, batcher.is_long("long"), batcher.is_long("short")) == (False, True, False)

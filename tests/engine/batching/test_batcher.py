import threading
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from app.arrays import NetworkInput
from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits, CostTable, Inferred
from app.engine.clock import SystemClock
from app.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from tests.fakes import ManualClock, RecordingObserver, SimulatedBackend, SimulatedRun

EAGER = BatchLimits(max_batch=16, max_delay_s=0.0, max_waiting=64)
LATER_S = 1e9


def picture(mark: int) -> NetworkInput:
    return np.full((4, 4, 3), mark, np.uint8)


def stepped(backend: SimulatedBackend, clock: ManualClock | None = None, **more: CostTable) -> Batcher:
    """Build a batcher without a thread, which runs one plan per call of ``step``."""
    return Batcher(backend, EAGER, clock or ManualClock(), RecordingObserver(), **more)


def queue(batcher: Batcher, *marks: int, deadline_s: float = LATER_S) -> list[Future[Inferred]]:
    return [batcher.submit("a", picture(mark), deadline_s=deadline_s).future for mark in marks]


def test_queued_pictures_share_a_run_and_get_their_own_results() -> None:
    backend = SimulatedBackend()
    batcher = stepped(backend)
    futures = queue(batcher, 1, 2, 3)
    batcher.step()
    results = [future.result(0) for future in futures]

    assert backend.batches == [("a", [1, 2, 3])]
    assert [result.batch_size for result in results] == [3, 3, 3]
    assert [float(result.saliency[0, 0]) for result in results] == pytest.approx([1 / 255, 2 / 255, 3 / 255])


def test_pictures_that_arrive_during_a_run_form_the_next_batch() -> None:
    backend = SimulatedBackend(release=threading.Event())
    batcher = Batcher(backend, EAGER, SystemClock(), RecordingObserver())
    batcher.start()
    futures = queue(batcher, 0)
    backend.started.acquire()
    futures += queue(batcher, 1, 2, 3)
    assert backend.release is not None
    backend.release.set()
    sizes = [future.result(5).batch_size for future in futures]
    batcher.stop()

    assert backend.batches == [("a", [0]), ("a", [1, 2, 3])]
    assert sizes == [1, 3, 3, 3]


def test_the_next_run_starts_while_results_are_delivered() -> None:
    observed: list[bool] = []
    has_started = threading.Event()
    backend = SimulatedBackend(on_run=lambda run: has_started.set() if 3 in run.marks else None)
    batcher = Batcher(backend, EAGER, SystemClock(), RecordingObserver())
    first, *_ = queue(batcher, 1, 2)
    first.add_done_callback(lambda _: observed.append(has_started.wait(60)))
    batcher.start()
    backend.started.acquire()
    queue(batcher, 3)
    batcher.stop()

    assert observed == [True]


def test_padding_is_counted_and_yields_no_results() -> None:
    costs = CostTable({"a": {1: 0.010, 4: 0.011}})
    observer = RecordingObserver()
    batcher = Batcher(SimulatedBackend(), EAGER, ManualClock(), observer, costs)
    futures = queue(batcher, 7, 8, 9)
    batcher.step()

    assert observer.ran == [("a", 3, 1)]
    assert [float(f.result(0).saliency[0, 0]) for f in futures] == pytest.approx([7 / 255, 8 / 255, 9 / 255])


def test_an_abandoned_picture_is_not_run() -> None:
    backend = SimulatedBackend()
    batcher = stepped(backend)
    abandoned = batcher.submit("a", picture(1), deadline_s=LATER_S)
    (other,) = queue(batcher, 2)
    batcher.abandon(abandoned)
    batcher.step()

    assert backend.batches == [("a", [2])]
    assert other.done()
    with pytest.raises(CancelledError):
        abandoned.future.result(0)


def test_a_run_is_aborted_when_its_only_ticket_is_abandoned() -> None:
    backend = SimulatedBackend(release=threading.Event())
    batcher = Batcher(backend, EAGER, SystemClock(), RecordingObserver())
    batcher.start()
    lone = batcher.submit("a", picture(1), deadline_s=LATER_S * 2)
    backend.started.acquire()
    batcher.abandon(lone)

    with pytest.raises(InferenceFailed, match="aborted"):
        lone.future.result(5)
    assert backend.batches == [("a", [1])]
    assert backend.release is not None
    backend.release.set()
    batcher.stop()


def test_a_run_completes_when_only_one_of_its_tickets_is_abandoned() -> None:
    tickets = []

    def abandon_midway(run: SimulatedRun) -> None:
        batcher.abandon(tickets[0])

    backend = SimulatedBackend(on_run=abandon_midway)
    batcher = stepped(backend)
    tickets += [batcher.submit("a", picture(mark), deadline_s=LATER_S) for mark in (1, 2)]
    batcher.step()

    assert float(tickets[1].future.result(0).saliency[0, 0]) == pytest.approx(2 / 255)
    assert backend.batches == [("a", [1, 2])]


def test_one_failing_picture_in_a_batch_of_sixteen_leaves_fifteen_results() -> None:
    batcher = stepped(SimulatedBackend(fail_at=frozenset({11})))
    futures = dict(zip(range(16), queue(batcher, *range(16)), strict=True))
    batcher.step()

    with pytest.raises(InferenceFailed):
        futures.pop(11).result(0)
    assert [float(f.result(0).saliency[0, 0]) for f in futures.values()] == pytest.approx(
        [m / 255 for m in futures]
    )


def test_saliency_that_is_not_finite_fails_its_picture_only() -> None:
    batcher = stepped(SimulatedBackend(poison_at=frozenset({2})))
    poisoned, other = queue(batcher, 2, 5)
    batcher.step()

    with pytest.raises(InferenceFailed):
        poisoned.result(0)
    assert np.isfinite(other.result(0).saliency).all()


def test_a_ticket_that_expires_in_the_queue_fails_without_a_run() -> None:
    clock, backend = ManualClock(), SimulatedBackend()
    batcher = stepped(backend, clock)
    (late,) = queue(batcher, 1, deadline_s=5.0)
    clock.advance(6.0)
    batcher.step()

    with pytest.raises(DeadlineExceeded) as failure:
        late.result(0)
    assert failure.value.deadline_s == 5.0
    assert backend.batches == []


def test_a_hung_run_is_overdue_then_stuck_until_it_ends() -> None:
    """A busy machine may cause an overdue run as well; a stuck run is a hang."""
    clock = ManualClock()
    states: list[tuple[bool, bool]] = []

    def spend(seconds: float) -> None:
        for _ in range(2):
            clock.advance(seconds / 2)
            states.append((batcher.is_overdue(), batcher.is_stuck()))

    backend = SimulatedBackend(alpha_s=0.1, hang_at=frozenset({9}), hang_s=3.2, spend=spend)
    batcher = stepped(backend, clock)
    for mark in (1, 9):
        queue(batcher, mark)
        batcher.step()

    assert states == [(False, False)] * 4 + [(True, False), (True, True)]
    assert not batcher.is_overdue()


def test_a_hang_does_not_change_the_costs() -> None:
    clock = ManualClock()
    costs = CostTable({"a": {1: 0.01}})
    backend = SimulatedBackend(alpha_s=0.01, hang_at=frozenset({9}), hang_s=3.0, spend=clock.advance)
    batcher = stepped(backend, clock, costs=costs)
    queue(batcher, 9)
    batcher.step()

    assert batcher.costs == costs


def test_a_slow_run_is_not_a_hang() -> None:
    clock = ManualClock()
    states: list[bool] = []

    def spend(seconds: float) -> None:
        clock.advance(seconds)
        states.append(batcher.is_stuck())

    batcher = stepped(SimulatedBackend(alpha_s=9.0, spend=spend), clock, costs=CostTable({"a": {1: 1.0}}))
    queue(batcher, 1)
    batcher.step()

    assert states == [False]


def test_a_busy_model_does_not_starve_another() -> None:
    clock = ManualClock()
    backend = SimulatedBackend(alpha_s=0.1, spend=clock.advance)
    batcher = Batcher(backend, BatchLimits(4, 0.0, 1000), clock, RecordingObserver())
    for _ in range(40):
        for _ in range(4):
            batcher.submit("hot", picture(1), deadline_s=LATER_S)
    cold = batcher.submit("cold", picture(2), deadline_s=LATER_S)
    steps = 0
    while not cold.future.done():
        batcher.step()
        steps += 1

    assert steps <= 7  # at most half a second of device time first, at a tenth of a second per run


def test_a_full_queue_refuses_tickets() -> None:
    batcher = Batcher(
        SimulatedBackend(), BatchLimits(4, 0.0, max_waiting=1), ManualClock(), RecordingObserver()
    )
    queue(batcher, 0)

    with pytest.raises(Overloaded):
        queue(batcher, 1)


def test_stopping_runs_the_queue_and_refuses_new_tickets() -> None:
    backend = SimulatedBackend(release=threading.Event())
    batcher = Batcher(backend, EAGER, SystemClock(), RecordingObserver())
    batcher.start()
    futures = queue(batcher, *range(6), deadline_s=LATER_S * 2)
    assert backend.release is not None
    backend.release.set()
    batcher.stop()

    assert all(future.done() for future in futures)
    with pytest.raises(NotReady):
        queue(batcher, 9)

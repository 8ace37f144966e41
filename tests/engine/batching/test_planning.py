import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.batching.planning import BatchLimits, CostTable, Plan, Ticket, plan_batch

EAGER = BatchLimits(max_batch=4, max_delay_s=0.0, max_waiting=64)
NEVER_S = 1e9


def ticket(
    mark: int = 0, *, model: str = "a", arrived_s: float = 0.0, deadline_s: float = NEVER_S, side: int = 4
) -> Ticket:
    return Ticket(model, np.full((side, side, 3), mark, np.uint8), arrived_s, deadline_s)


def batch_of(plan: Plan) -> list[int]:
    return [int(t.network_input[0, 0, 0]) for t in plan.batch]


def test_all_queued_pictures_are_dispatched_at_once() -> None:
    waiting = [ticket(i) for i in range(3)]

    assert Plan(batch=tuple(waiting), batch_size=3) == plan_batch(waiting, 0.0, EAGER)


def test_a_batch_takes_the_oldest_tickets_up_to_the_limit() -> None:
    waiting = [ticket(i) for i in range(7)]

    assert tuple(waiting[:4]) == plan_batch(waiting, 0.0, EAGER).batch


def test_a_batch_contains_one_model_only() -> None:
    first, other, second = ticket(model="a"), ticket(model="b"), ticket(model="a")

    assert (first, second) == plan_batch([first, other, second], 0.0, EAGER).batch


def test_a_cancelled_ticket_is_dropped_before_inference() -> None:
    cancelled, other = ticket(), ticket()
    cancelled.future.cancel()
    plan = plan_batch([cancelled, other], 0.0, EAGER)

    assert Plan(cancelled=(cancelled,), batch=(other,), batch_size=1) == plan


def test_a_picture_past_its_deadline_is_not_run() -> None:
    expired, other = ticket(deadline_s=5.0), ticket(deadline_s=5.1)

    assert Plan(expired=(expired,), batch=(other,), batch_size=1) == plan_batch([expired, other], 5.0, EAGER)


def test_pictures_of_a_batch_job_run_after_the_others_unless_they_have_waited_long() -> None:
    job = Ticket("a", np.zeros((4, 4, 3), np.uint8), 0.0, NEVER_S, is_background=True)
    later = [ticket(i, arrived_s=1.0) for i in range(4)]

    assert tuple(later) == plan_batch([job, *later], 1.0, EAGER).batch
    assert (job, *later[:3]) == plan_batch([job, *later], EAGER.patience_s, EAGER).batch


def test_they_fill_a_run_with_others() -> None:
    job = Ticket("a", np.zeros((4, 4, 3), np.uint8), 0.0, NEVER_S, is_background=True)
    other = ticket(arrived_s=1.0)

    assert (other, job) == plan_batch([job, other], 1.0, EAGER).batch


def test_a_delay_counts_from_the_oldest_arrival() -> None:
    patient = BatchLimits(max_batch=4, max_delay_s=0.010, max_waiting=64)
    waiting = [ticket(arrived_s=1.000), ticket(arrived_s=1.009)]

    assert Plan(look_again_s=1.010) == plan_batch(waiting, 1.009, patient)
    assert tuple(waiting) == plan_batch(waiting, 1.010, patient).batch


def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    patient = BatchLimits(max_batch=2, max_delay_s=10.0, max_waiting=64)

    assert len(plan_batch([ticket(), ticket()], 0.0, patient).batch) == 2


def test_a_delay_ends_at_the_first_deadline() -> None:
    patient = BatchLimits(max_batch=4, max_delay_s=10.0, max_waiting=64)

    assert plan_batch([ticket(deadline_s=3.0)], 0.0, patient).look_again_s == 3.0


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 10), st.booleans()), max_size=30),
    st.integers(1, 8),
    st.floats(0, 10),
)
def test_every_ticket_has_at_most_one_outcome_and_order_is_kept(
    rows: list[tuple[str, float, bool]], max_batch: int, now_s: float
) -> None:
    waiting = [ticket(model=model, deadline_s=deadline_s) for model, deadline_s, _ in rows]
    for item, (_, _, is_cancelled) in zip(waiting, rows, strict=True):
        if is_cancelled:
            item.future.cancel()
    plan = plan_batch(waiting, now_s, BatchLimits(max_batch, 0.0, 64))
    planned = [*plan.cancelled, *plan.expired, *plan.batch]

    assert len(set(map(id, planned))) == len(planned)
    assert all(t.is_cancelled for t in plan.cancelled)
    assert all(t.deadline_s <= now_s and not t.is_cancelled for t in plan.expired)
    assert all(t.deadline_s > now_s and not t.is_cancelled for t in plan.batch)
    assert [t for t in waiting if t in plan.batch] == list(plan.batch)
    alive = [t for t in waiting if t not in plan.cancelled and t not in plan.expired]
    assert bool(alive) == bool(plan.batch)


def test_a_batch_contains_one_input_size_only() -> None:
    small, large = ticket(1, side=4), ticket(2, side=8)

    assert (small,) == plan_batch([small, large], 0.0, EAGER).batch


def test_the_earliest_deadline_runs_first() -> None:
    relaxed, urgent = ticket(1, model="a", deadline_s=4.0), ticket(2, model="b", deadline_s=2.0)

    assert batch_of(plan_batch([relaxed, urgent], 0.0, EAGER)) == [2]


def test_a_ticket_with_a_late_deadline_becomes_urgent_with_age() -> None:
    limits = BatchLimits(max_batch=4, max_delay_s=0.0, max_waiting=64, patience_s=5.0)
    relaxed, urgent = (
        ticket(1, model="a", arrived_s=0.0),
        ticket(2, model="b", arrived_s=9.0, deadline_s=11.0),
    )

    assert batch_of(plan_batch([relaxed, urgent], 9.5, limits)) == [1]


def test_a_model_over_its_fair_share_waits_its_turn() -> None:
    limits = BatchLimits(max_batch=4, max_delay_s=0.0, max_waiting=64, fair_share_s=0.5)
    hot, cold = ticket(1, model="hot", deadline_s=1.0), ticket(2, model="cold", deadline_s=9.0)

    assert batch_of(plan_batch([hot, cold], 0.0, limits, used_s={"hot": 10.4, "cold": 10.0})) == [1]
    assert batch_of(plan_batch([hot, cold], 0.0, limits, used_s={"hot": 10.6, "cold": 10.0})) == [2]


GPU = CostTable({"a": {1: 0.006, 2: 0.007, 4: 0.009, 8: 0.013}})


@pytest.mark.parametrize(
    ("waiting", "split"),
    [(1, (1, 1)), (2, (2, 2)), (3, (3, 4)), (4, (4, 4)), (5, (4, 4)), (7, (7, 8)), (8, (8, 8)), (20, (8, 8))],
)
def test_a_device_that_gains_from_batches_pads_to_the_next_warmed_size(
    waiting: int, split: tuple[int, int]
) -> None:
    assert GPU.split("a", waiting, 8) == split


CPU = CostTable({"a": {1: 0.1, 2: 0.2, 4: 0.4, 8: 0.8}})


@pytest.mark.parametrize(("waiting", "split"), [(1, (1, 1)), (3, (2, 2)), (5, (4, 4)), (8, (8, 8))])
def test_a_device_that_gains_nothing_from_batches_never_pads(waiting: int, split: tuple[int, int]) -> None:
    assert CPU.split("a", waiting, 8) == split


@given(
    st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(0.001, 1), min_size=1),
    st.integers(1, 64),
    st.sampled_from([1, 2, 4, 8, 16, 32]),
)
def test_no_other_split_is_cheaper_per_picture(
    seconds: dict[int, float], waiting: int, max_batch: int
) -> None:
    take, size = CostTable({"a": seconds}).split("a", waiting, max_batch)
    sizes = [s for s in seconds if s <= max_batch]

    assert 1 <= take <= min(waiting, max_batch)
    assert size >= take
    if sizes:
        assert size in sizes
        filled = [seconds[s] / s for s in sizes if s <= min(waiting, max_batch)]
        assert not filled or seconds[size] / take <= min(filled)


def test_a_cost_follows_the_measurements() -> None:
    table = CostTable({"a": {1: 0.1}})
    for _ in range(60):
        table = table.observed("a", 1, 0.3)

    assert table.run_s("a", 1) == pytest.approx(0.3, rel=0.01)
    assert (table.per_picture_s("a", 8), table.per_picture_s("unknown", 8)) == (table.run_s("a", 1), 0.0)


def test_costs_of_sizes_that_were_not_warmed_are_ignored() -> None:
    table = CostTable({"a": {1: 0.1}})

    assert table.observed("a", 3, 0.2) == table.observed("b", 1, 0.2) == table


def test_a_ticket_that_would_expire_during_the_run_is_dropped() -> None:
    costs = CostTable({"a": {1: 1.0, 4: 2.0}})
    uncertain, certain = ticket(1, deadline_s=10.9), ticket(2, deadline_s=11.1)
    plan = plan_batch([uncertain, certain], 10.0, EAGER, costs)

    assert (uncertain,) == plan.expired
    assert (certain,) == plan.batch


def test_a_ticket_that_would_expire_during_the_run_is_run_if_it_is_alone() -> None:
    costs = CostTable({"a": {1: 1.0}})
    uncertain, expired = ticket(1, deadline_s=10.9), ticket(2, deadline_s=10.0)
    plan = plan_batch([uncertain, expired], 10.0, EAGER, costs)

    assert (expired,) == plan.expired
    assert (uncertain,) == plan.batch


@pytest.mark.parametrize(
    ("waiting", "max_delay_s", "is_last", "reason"),
    [
        (4, 0.0, False, "full"),
        (2, 0.0, False, "slot_free"),
        (2, 1.0, False, "delay"),
        (2, 9.0, True, "drain"),
    ],
)
def test_a_plan_has_the_reason_of_its_dispatch(
    waiting: int, max_delay_s: float, is_last: bool, reason: str
) -> None:
    limits = BatchLimits(max_batch=4, max_delay_s=max_delay_s, max_waiting=64)
    plan = plan_batch([ticket() for _ in range(waiting)], 1.0, limits, is_last=is_last)

    assert waiting == len(plan.batch)
    assert reason == plan.reason


def test_a_model_that_runs_one_picture_at_a_time_waits_for_no_others() -> None:
    patient = BatchLimits(max_batch=4, max_delay_s=10.0, max_waiting=64)
    costs = CostTable({"a": {1: 0.1}})
    waiting = [ticket(), ticket()]

    plan = plan_batch(waiting, 0.0, patient, costs)

    assert (tuple(waiting[:1]), 1, "full") == (plan.batch, plan.batch_size, plan.reason)

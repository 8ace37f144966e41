import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.admission import Admission, Budget, Permit
from app.errors import Overloaded

BUDGET = Budget(requests=2, upload_bytes=100, pixels=1000, memory_bytes=5000)


def test_a_request_over_the_budget_is_refused_at_once() -> None:
    admission = Admission(BUDGET)
    admission.enter()
    admission.enter()

    with pytest.raises(Overloaded) as refusal:
        admission.enter()

    assert refusal.value.resource == "requests in flight"
    assert refusal.value.retry_after_s == 1


def hold(permit: Permit, resource: str, count: int) -> None:
    if resource == "bytes":
        permit.hold_bytes(count)
    else:
        permit.hold_pictures(**{"pixels": 0, "memory_bytes": 0, resource: count})


@pytest.mark.parametrize(("resource", "limit"), [("bytes", 100), ("pixels", 1000), ("memory_bytes", 5000)])
def test_the_last_unit_of_a_budget_is_granted_and_the_next_refused(resource: str, limit: int) -> None:
    permit = Admission(BUDGET).enter()
    hold(permit, resource, limit)

    with pytest.raises(Overloaded):
        hold(permit, resource, 1)


def test_pictures_refused_for_memory_hold_no_pixels() -> None:
    admission = Admission(BUDGET)
    permit = admission.enter()

    with pytest.raises(Overloaded):
        permit.hold_pictures(pixels=10, memory_bytes=5001)
    assert (admission.pixels, admission.memory_bytes) == (0, 0)


def test_bytes_held_for_a_block_are_released_even_if_it_raises() -> None:
    admission = Admission(BUDGET)
    permit = admission.enter()
    permit.hold_bytes(40)

    held: list[int] = []

    def fail() -> None:
        with permit.holding_bytes(50):
            held.append(admission.upload_bytes)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert [90] == held
    assert admission.upload_bytes == 40


def test_a_step_that_outlives_its_request_keeps_the_permit() -> None:
    admission = Admission(BUDGET)
    with admission.enter() as permit:
        permit.hold_pictures(pixels=400, memory_bytes=900)
        release = permit.keep()

    assert (admission.requests, admission.pixels, admission.memory_bytes) == (1, 400, 900)
    release()
    release()
    assert (admission.requests, admission.pixels, admission.memory_bytes) == (0, 0, 0)


def test_a_permit_released_twice_counts_once() -> None:
    admission = Admission(BUDGET)
    first, _second = admission.enter(), admission.enter()
    first.hold_bytes(60)
    first.release()
    first.release()

    assert (admission.requests, admission.upload_bytes) == (1, 0)


def test_a_failing_request_releases_its_permit() -> None:
    admission = Admission(BUDGET)

    def exceed_the_budget() -> None:
        with admission.enter() as permit:
            permit.hold_pictures(pixels=400, memory_bytes=1)
            permit.hold_pictures(pixels=700, memory_bytes=1)

    with pytest.raises(Overloaded):
        exceed_the_budget()

    assert (admission.requests, admission.pixels) == (0, 0)


def test_saturation_is_the_used_share_of_the_scarcest_budget() -> None:
    admission = Admission(BUDGET)
    permit = admission.enter()
    permit.hold_bytes(20)
    permit.hold_pictures(pixels=900, memory_bytes=10)

    assert admission.saturation() == 0.9


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "bytes", "pixels", "release"]), st.integers(0, 400)), max_size=60
    )
)
def test_the_counts_are_the_sums_of_the_permits_and_never_over_budget(
    steps: list[tuple[str, int]],
) -> None:
    admission = Admission(BUDGET)
    held: list[tuple[object, list[int]]] = []
    for action, amount in steps:
        try:
            if action == "enter":
                held.append((admission.enter(), [0, 0]))
            elif held and action == "release":
                held.pop(amount % len(held))[0].release()  # type: ignore[attr-defined] # a Permit
            elif held:
                permit, sums = held[amount % len(held)]
                if action == "bytes":
                    permit.hold_bytes(amount)  # type: ignore[attr-defined] # a Permit
                    sums[0] += amount
                elif action == "pixels":
                    permit.hold_pictures(pixels=amount, memory_bytes=3 * amount)  # type: ignore[attr-defined]
                    sums[1] += amount
        except Overloaded:
            pass
        assert len(held) == admission.requests <= BUDGET.requests
        assert sum(s[0] for _, s in held) == admission.upload_bytes <= BUDGET.upload_bytes
        assert sum(s[1] for _, s in held) == admission.pixels <= BUDGET.pixels
        assert 3 * admission.pixels == admission.memory_bytes <= BUDGET.memory_bytes


def test_a_response_is_counted_until_it_is_released() -> None:
    admission = Admission(BUDGET)
    release = admission.hold_response(700)
    assert admission.memory_bytes == 700

    release()
    release()
    assert admission.memory_bytes == 0

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.quota import Quota, QuotaRegistry, Rates
from app.errors import QuotaExceeded
from tests.fakes import ManualClock

STEPS = st.lists(st.tuples(st.floats(0, 90), st.booleans(), st.integers(1, 50_000_000)), max_size=60)


def taken(quota: Quota, *, pixels: int | None) -> bool:
    try:
        quota.spend_request() if pixels is None else quota.spend_pixels(pixels)
    except QuotaExceeded:
        return False
    return True


def test_a_minutes_worth_may_come_at_once_and_no_more() -> None:
    quota = Quota(Rates(requests=60), ManualClock())

    assert [taken(quota, pixels=None) for _ in range(62)] == [True] * 60 + [False] * 2


def test_the_refusal_says_when_to_come_back_and_keeps_its_word() -> None:
    clock = ManualClock()
    quota = Quota(Rates(megapixels=6), clock)
    quota.spend_pixels(6_000_000)
    with pytest.raises(QuotaExceeded) as refused:
        quota.spend_pixels(2_000_000)

    assert refused.value.retry_after_s == 20
    assert refused.value.facts() == {"resource": "megapixels", "limit_per_minute": 6}
    clock.advance(refused.value.retry_after_s)
    assert taken(quota, pixels=2_000_000)


def test_a_picture_larger_than_a_minutes_worth_costs_just_that() -> None:
    """It could never be served otherwise."""
    quota = Quota(Rates(megapixels=6), ManualClock())

    assert [taken(quota, pixels=50_000_000) for _ in range(2)] == [True, False]


def test_what_has_no_limit_is_not_counted() -> None:
    quota = Quota(Rates(), ManualClock())

    assert all(taken(quota, pixels=pixels) for pixels in [None, 50_000_000] * 1000)
    assert not list(quota.statuses())


@given(STEPS, st.integers(1, 100), st.integers(1, 200))
def test_no_stretch_of_time_gives_more_than_the_bucket_and_its_rate(
    steps: list[tuple[float, bool, int]], requests: int, megapixels: int
) -> None:
    """Counted from outside: whatever was served between two instants, against what the rates allow."""
    clock = ManualClock()
    quota = Quota(Rates(requests, megapixels), clock)
    served: list[tuple[float, bool, float]] = []
    for wait_s, is_request, pixels in steps:
        clock.advance(wait_s)
        if taken(quota, pixels=None if is_request else pixels):
            cost = 1.0 if is_request else min(pixels / 1e6, megapixels)
            served.append((clock.now_s(), is_request, cost))

    for begin, (begin_s, kind, _) in enumerate(served):
        quota = requests if kind else megapixels
        total = 0.0
        for end_s, other_kind, cost in served[begin:]:
            if other_kind is kind:
                total += cost
                assert total <= quota * (1 + (end_s - begin_s) / 60) + 1e-6


@given(STEPS)
def test_what_is_left_is_what_can_be_taken(steps: list[tuple[float, bool, int]]) -> None:
    clock = ManualClock()
    quota = Quota(Rates(requests=10, megapixels=10), clock)
    for wait_s, is_request, pixels in steps:
        clock.advance(wait_s)
        taken(quota, pixels=None if is_request else pixels)
    requests, megapixels = quota.statuses()
    whole = math.floor(requests.remaining + 1e-9)

    assert 0 <= requests.remaining <= 10
    assert 0 <= megapixels.remaining <= 10
    assert [taken(quota, pixels=None) for _ in range(whole + 1)] == [True] * whole + [False]
    clock.advance(requests.full_in_s + 60)
    assert [standing.remaining for standing in quota.statuses()] == pytest.approx([10, 10])


def test_an_allowance_lasts_until_its_rates_change() -> None:
    quotas = QuotaRegistry(ManualClock())
    first = quotas.of("shop", Rates(requests=1))

    assert quotas.of("shop", Rates(requests=1)) is first
    assert quotas.of("other", Rates(requests=1)) is not first
    assert quotas.of("shop", Rates(requests=2)) is not first


def left(quota: Quota) -> list[float]:
    return [standing.remaining for standing in quota.statuses()]


def test_what_was_paid_for_and_not_needed_comes_back() -> None:
    quota = Quota(Rates(megapixels=10), ManualClock())
    quota.spend_pixels(8_000_000)
    quota.settle_pixels(8_000_000, 5_000_000)

    assert left(quota) == [5.0]


def test_no_more_comes_back_than_was_paid() -> None:
    """What exceeds the whole quota cost the whole quota: a crop is no way to requests for nothing."""
    quota = Quota(Rates(megapixels=10), ManualClock())
    quota.spend_pixels(20_000_000)
    quota.settle_pixels(20_000_000, 5_000_000)
    assert left(quota) == [5.0]

    quota.spend_pixels(5_000_000)
    quota.settle_pixels(5_000_000, 9_000_000)
    assert left(quota) == [0.0]


def test_a_request_of_many_costs_as_many() -> None:
    quota = Quota(Rates(requests=10), ManualClock())
    quota.spend_request()
    quota.spend_rest_of(7)

    assert [3.0] == [standing.remaining for standing in quota.statuses()]
    quota.spend_request()
    with pytest.raises(QuotaExceeded):
        quota.spend_rest_of(4)


def test_a_request_of_more_than_the_quota_costs_the_quota_and_can_be_paid() -> None:
    clock = ManualClock()
    quota = Quota(Rates(requests=5), clock)
    quota.spend_request()
    quota.spend_rest_of(6)
    assert [0.0] == [standing.remaining for standing in quota.statuses()]

    clock.advance(60)
    quota.spend_request()
    quota.spend_rest_of(600)


def test_a_request_of_one_costs_no_more() -> None:
    quota = Quota(Rates(requests=1), ManualClock())
    quota.spend_request()
    quota.spend_rest_of(1)

    assert left(quota) == [0.0]

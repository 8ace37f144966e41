import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.quota import Quota, QuotaRegistry, Rates
from app.errors import QuotaExceeded
from tests.fakes import ManualClock

STEPS = st.lists(st.tuples(st.floats(0, 90), st.booleans(), st.integers(1, 50_000_000)), max_size=60)


def spend(quota: Quota, *, pixels: int | None) -> bool:
    """Charge for a request, or for pixels, and return whether the quota allowed it."""
    try:
        quota.spend_request() if pixels is None else quota.spend_pixels(pixels)
    except QuotaExceeded:
        return False
    return True


def test_one_minutes_quota_may_be_used_at_once() -> None:
    quota = Quota(Rates(requests=60), ManualClock())

    assert [spend(quota, pixels=None) for _ in range(62)] == [True] * 60 + [False] * 2


@pytest.mark.parametrize("rate", [1e-9, 1e-12, 5e-324])
def test_a_rate_near_zero_allows_one_request_and_one_picture(rate: float) -> None:
    quota = Quota(Rates(requests=rate, megapixels=rate), ManualClock())

    assert [spend(quota, pixels=None) for _ in range(3)] == [True, False, False]
    assert [spend(quota, pixels=1_000) for _ in range(3)] == [True, False, False]


def test_a_request_succeeds_after_the_retry_after_of_its_refusal() -> None:
    clock = ManualClock()
    quota = Quota(Rates(megapixels=6), clock)
    quota.spend_pixels(6_000_000)
    with pytest.raises(QuotaExceeded) as refusal:
        quota.spend_pixels(2_000_000)

    assert refusal.value.retry_after_s == 20
    assert refusal.value.facts() == {"resource": "megapixels", "limit_per_minute": 6}
    clock.advance(refusal.value.retry_after_s)
    assert spend(quota, pixels=2_000_000)


def test_a_picture_larger_than_the_quota_costs_the_whole_quota() -> None:
    """Otherwise it could never be served."""
    quota = Quota(Rates(megapixels=6), ManualClock())

    assert [spend(quota, pixels=50_000_000) for _ in range(2)] == [True, False]


def test_unlimited_resources_are_not_counted() -> None:
    quota = Quota(Rates(), ManualClock())

    assert all(spend(quota, pixels=pixels) for pixels in [None, 50_000_000] * 1000)
    assert not list(quota.statuses())


@given(STEPS, st.integers(1, 100), st.integers(1, 200))
def test_no_period_exceeds_its_rate_plus_one_full_bucket(
    steps: list[tuple[float, bool, int]], requests: int, megapixels: int
) -> None:
    """An independent count: the total served between any two requests, against the rates."""
    clock = ManualClock()
    quota = Quota(Rates(requests, megapixels), clock)
    served: list[tuple[float, bool, float]] = []
    for wait_s, is_request, pixels in steps:
        clock.advance(wait_s)
        if spend(quota, pixels=None if is_request else pixels):
            cost = 1.0 if is_request else min(pixels / 1e6, megapixels)
            served.append((clock.now_s(), is_request, cost))

    for start, (start_s, kind, _) in enumerate(served):
        limit = requests if kind else megapixels
        total = 0.0
        for end_s, other_kind, cost in served[start:]:
            if other_kind is kind:
                total += cost
                assert total <= limit * (1 + (end_s - start_s) / 60) + 1e-6


@given(STEPS)
def test_exactly_the_remaining_quota_can_be_spent(steps: list[tuple[float, bool, int]]) -> None:
    clock = ManualClock()
    quota = Quota(Rates(requests=10, megapixels=10), clock)
    for wait_s, is_request, pixels in steps:
        clock.advance(wait_s)
        spend(quota, pixels=None if is_request else pixels)
    requests, megapixels = quota.statuses()
    whole = math.floor(requests.remaining + 1e-9)

    assert 0 <= requests.remaining <= 10
    assert 0 <= megapixels.remaining <= 10
    assert [spend(quota, pixels=None) for _ in range(whole + 1)] == [True] * whole + [False]
    clock.advance(requests.full_in_s + 60)
    assert remaining(quota) == pytest.approx([10, 10])


def test_a_key_keeps_its_quota_until_its_rates_change() -> None:
    quotas = QuotaRegistry(ManualClock())
    first = quotas.of("shop", Rates(requests=1))

    assert quotas.of("shop", Rates(requests=1)) is first
    assert quotas.of("other", Rates(requests=1)) is not first
    assert quotas.of("shop", Rates(requests=2)) is not first


def remaining(quota: Quota) -> list[float]:
    return [status.remaining for status in quota.statuses()]


def test_pixels_charged_but_not_needed_are_refunded() -> None:
    quota = Quota(Rates(megapixels=10), ManualClock())
    quota.spend_pixels(8_000_000)
    quota.settle_pixels(8_000_000, 5_000_000)

    assert remaining(quota) == [5.0]


def test_the_refund_is_at_most_the_charge() -> None:
    """A picture above the whole quota costs the whole quota, so cropping it cannot yield free requests."""
    quota = Quota(Rates(megapixels=10), ManualClock())
    quota.spend_pixels(20_000_000)
    quota.settle_pixels(20_000_000, 5_000_000)
    assert remaining(quota) == [5.0]

    quota.spend_pixels(5_000_000)
    quota.settle_pixels(5_000_000, 9_000_000)
    assert remaining(quota) == [0.0]


def test_a_request_of_many_pictures_costs_as_many_requests() -> None:
    quota = Quota(Rates(requests=10), ManualClock())
    quota.spend_request()
    quota.spend_rest_of(7)

    assert remaining(quota) == [3.0]
    quota.spend_request()
    with pytest.raises(QuotaExceeded):
        quota.spend_rest_of(4)


def test_a_request_of_more_pictures_than_the_quota_costs_the_whole_quota() -> None:
    clock = ManualClock()
    quota = Quota(Rates(requests=5), clock)
    quota.spend_request()
    quota.spend_rest_of(6)
    assert remaining(quota) == [0.0]

    clock.advance(60)
    quota.spend_request()
    quota.spend_rest_of(600)


def test_a_request_of_one_picture_costs_one_request() -> None:
    quota = Quota(Rates(requests=1), ManualClock())
    quota.spend_request()
    quota.spend_rest_of(1)

    assert remaining(quota) == [0.0]

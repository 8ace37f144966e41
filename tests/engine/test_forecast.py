import pytest

from app.engine.forecast import MARGIN, Forecast, retry_after_s


def test_a_picture_waits_for_those_ahead_and_its_own_run() -> None:
    forecast = Forecast(workers=2)
    with forecast.on_its_way(), forecast.on_its_way():
        total_s = forecast.total_s(per_picture_s=0.5, pixels=1000, pixels_in_flight=0)

    assert total_s == 1.5 * MARGIN
    assert forecast.ahead == 0


def test_a_picture_that_is_looked_at_twice_counts_twice() -> None:
    forecast = Forecast(workers=2)
    with forecast.on_its_way(2):
        total_s = forecast.total_s(per_picture_s=0.5, pixels=0, pixels_in_flight=0, runs=2)

    assert total_s == 4 * 0.5 * MARGIN
    assert forecast.ahead == 0


def test_the_other_steps_cost_what_they_did_before_shared_by_the_workers() -> None:
    forecast = Forecast(workers=2)
    forecast.learn(pixels=1_000_000, seconds=0.2)
    total_s = forecast.total_s(per_picture_s=0.0, pixels=1_000_000, pixels_in_flight=4_000_000)

    assert total_s == pytest.approx((0.2 + 0.4) * MARGIN)


def test_a_tiny_picture_does_not_make_large_ones_look_hopeless() -> None:
    forecast = Forecast(workers=1)
    forecast.learn(pixels=1, seconds=0.005)

    assert forecast.total_s(per_picture_s=0.0, pixels=12_000_000, pixels_in_flight=0) < 0.1


def test_a_failing_request_is_no_longer_ahead() -> None:
    forecast = Forecast(workers=1)

    with pytest.raises(LookupError), forecast.on_its_way():
        raise LookupError
    assert forecast.ahead == 0


@pytest.mark.parametrize(
    ("total_s", "allowed_s", "expected"), [(3.2, 3.0, 1), (10.5, 3.0, 8), (900.0, 1.0, 60)]
)
def test_retry_after_is_a_whole_number_of_seconds_from_1_to_60(
    total_s: float, allowed_s: float, expected: int
) -> None:
    assert retry_after_s(total_s, allowed_s) == expected


def test_a_picture_that_needs_no_network_waits_for_none() -> None:
    forecast = Forecast(workers=1)
    with forecast.on_its_way(9):
        assert forecast.total_s(per_picture_s=1.0, pixels=0, pixels_in_flight=0, runs=0) == 0


def test_requests_of_many_pictures_count_the_turns_of_each_other_and_no_more() -> None:
    forecast = Forecast(workers=1)
    with forecast.long_run(30) as first, forecast.long_run(4):
        assert forecast.turns_of_others(10) == 10 + 4
        first.left = 3
        assert forecast.turns_of_others(10) == 3 + 4
    assert forecast.turns_of_others(10) == 0
    assert forecast.ahead == 0

import pytest

from app.engine.capacity.wait_estimator import MARGIN, WaitEstimator, retry_after_s


def test_the_estimate_includes_the_network_and_the_other_steps() -> None:
    wait_estimator = WaitEstimator(workers=2)
    wait_estimator.learn(pixels=1_000_000, seconds=1.0)
    total_s = wait_estimator.total_s(device_s=0.5, pixels=1_000_000, pixels_in_flight=0)

    assert total_s == 1.5 * MARGIN
    assert wait_estimator.queued_runs == 0


def test_queued_runs_cost_what_a_run_of_their_model_does() -> None:
    wait_estimator = WaitEstimator(workers=2)
    with wait_estimator.counting("a"), wait_estimator.counting("a"), wait_estimator.counting("b", 2):
        queued_s = wait_estimator.queued_s({"a": 0.5, "b": 4.0}.__getitem__)

    assert queued_s == 9.0
    assert wait_estimator.queued_runs == 0


def test_the_cost_of_the_other_steps_is_learnt_and_shared_by_the_workers() -> None:
    wait_estimator = WaitEstimator(workers=2)
    wait_estimator.learn(pixels=1_000_000, seconds=0.2)
    total_s = wait_estimator.total_s(device_s=0.0, pixels=1_000_000, pixels_in_flight=4_000_000)

    assert total_s == pytest.approx((0.2 + 0.4) * MARGIN)


def test_a_tiny_picture_does_not_inflate_the_estimate_of_large_ones() -> None:
    wait_estimator = WaitEstimator(workers=1)
    wait_estimator.learn(pixels=1, seconds=0.005)

    assert wait_estimator.total_s(device_s=0.0, pixels=12_000_000, pixels_in_flight=0) < 0.1


def test_a_failed_request_no_longer_counts() -> None:
    wait_estimator = WaitEstimator(workers=1)

    with pytest.raises(LookupError), wait_estimator.counting("a"):
        raise LookupError
    assert wait_estimator.queued_runs == 0


@pytest.mark.parametrize(
    ("total_s", "allowed_s", "expected"), [(3.2, 3.0, 1), (10.5, 3.0, 8), (900.0, 1.0, 60)]
)
def test_retry_after_is_a_whole_number_of_seconds_from_1_to_60(
    total_s: float, allowed_s: float, expected: int
) -> None:
    assert retry_after_s(total_s, allowed_s) == expected


def test_long_requests_count_each_others_turns_only() -> None:
    wait_estimator = WaitEstimator(workers=1)
    with wait_estimator.long_run(30) as first, wait_estimator.long_run(4):
        assert wait_estimator.turns_of_others(10) == 10 + 4
        first.left = 3
        assert wait_estimator.turns_of_others(10) == 3 + 4
    assert wait_estimator.turns_of_others(10) == 0
    assert wait_estimator.queued_runs == 0


def test_an_upload_that_was_not_read_counts_as_its_length_suggests() -> None:
    estimator = WaitEstimator(2)

    assert estimator.likely_px(1000) == 0  # nothing is known yet
    for _ in range(100):
        estimator.learn_size(12_000_000, upload_bytes=3_000_000)

    assert estimator.likely_px(3_000_000) == pytest.approx(12_000_000)
    assert estimator.likely_px(20_000) == pytest.approx(80_000)  # a small picture among large ones
    assert estimator.likely_px(20_000_000) == pytest.approx(12_000_000)
    assert estimator.likely_px(0) == 0

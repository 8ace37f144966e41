import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.telemetry.saturation import Sample, Saturation


def test_the_ratio_is_that_of_the_busiest_step() -> None:
    saturation = Saturation({"decode": 2, "infer": 1})
    saturation.add(Sample(0.0, {"decode": 5.0, "infer": 7.0}, accepted=0, refused=0))
    saturation.add(Sample(10.0, {"decode": 10.0, "infer": 14.0}, accepted=9, refused=0))

    assert saturation.utilisation() == pytest.approx({"decode": 0.25, "infer": 0.7})
    assert saturation.ratio() == pytest.approx(0.7)


def test_the_ratio_is_zero_before_there_are_steps() -> None:
    """The service takes samples and is scraped while models are still loading."""
    saturation = Saturation({})
    for at_s in (0.0, 1.0):
        saturation.add(Sample(at_s, {}, accepted=0, refused=0))

    assert saturation.ratio() == 0


def test_refused_requests_count_as_demand() -> None:
    saturation = Saturation({"infer": 1})
    saturation.add(Sample(0.0, {"infer": 0.0}, accepted=0, refused=0))
    saturation.add(Sample(10.0, {"infer": 10.0}, accepted=50, refused=200))

    assert saturation.ratio() == pytest.approx(5.0)


def test_a_new_or_idle_service_is_not_saturated() -> None:
    saturation = Saturation({"infer": 1})

    assert saturation.ratio() == 0
    for at_s in (0.0, 1.0):
        saturation.add(Sample(at_s, {"infer": 3.0}, accepted=5, refused=5))
    assert saturation.ratio() == 0


@given(st.lists(st.floats(0, 1), min_size=30, max_size=60))
def test_only_the_window_counts(loads: list[float]) -> None:
    saturation = Saturation({"infer": 1}, window_s=10.0)
    busy_s = 0.0
    for second, load in enumerate([0.0, *loads]):
        busy_s += load
        saturation.add(Sample(float(second), {"infer": busy_s}, accepted=0, refused=0))

    assert saturation.ratio() == pytest.approx(sum(loads[-10:]) / 10)

"""The estimated time of a request depends on the model that it asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits, CostTable
from app.engine.models.registry import ModelRegistry
from app.engine.threads.workers import Pools
from app.errors import Overloaded
from app.pipeline.admit import PictureAdmission
from app.pipeline.footprint import PictureLimits
from tests.fakes import ManualClock, RecordingObserver, SimulatedBackend, SimulatedSource

COSTS = CostTable({"small": {1: 0.1}, "large": {1: 4.0}})
LIMITS = PictureLimits(10**6, 1000, 10**9)


@contextmanager
def admission(*, overtakes: bool = True) -> Iterator[PictureAdmission]:
    clock = ManualClock()
    models = ModelRegistry(
        SimulatedSource(frozenset({"small", "large"})),
        ("small", "large"),
        maximum=2,
        clock=clock,
        observer=RecordingObserver(),
    )
    models.load_pinned(lambda _: None)
    batcher = Batcher(
        SimulatedBackend(),
        BatchLimits(1, 0.0, 64),
        clock,
        RecordingObserver(),
        COSTS,
        overtakes=overtakes,
    )
    pools = Pools.of(1, clock)
    try:
        yield PictureAdmission(models, batcher, pools, LIMITS, clock)
    finally:
        pools.stop()


def test_a_short_run_waits_for_long_ones_for_a_third_of_its_time_at_most() -> None:
    with admission() as admitting, admitting.wait_estimator.counting("large", 9):
        assert admitting.device_s("small", 1) == pytest.approx(0.1 * 4 / 3)


def test_a_long_run_waits_for_short_ones_for_three_times_its_time_at_most() -> None:
    with admission() as admitting, admitting.wait_estimator.counting("small", 20):
        assert admitting.device_s("large", 1) == pytest.approx(4.0 + 2.0)
    with admission() as admitting, admitting.wait_estimator.counting("small", 1000):
        assert admitting.device_s("large", 1) == pytest.approx(4.0 + 12.0)


def test_where_runs_do_not_share_the_device_all_of_them_are_waited_for() -> None:
    with admission(overtakes=False) as admitting, admitting.wait_estimator.counting("large", 2):
        assert admitting.device_s("small", 1) == pytest.approx(8.1)


def test_a_queue_that_is_too_long_for_one_model_admits_another() -> None:
    with admission() as admitting, admitting.wait_estimator.counting("large", 20):
        admitting.check_time(60.0, model="small")
        with pytest.raises(Overloaded) as refusal:
            admitting.check_time(60.0, model="large")

    assert refusal.value.retry_after_s == 45  # (20 + 1) · 4 s, a quarter more, without the 60 s allowed


def test_its_retry_after_comes_true() -> None:
    with admission() as admitting:
        with admitting.wait_estimator.counting("large", 20), pytest.raises(Overloaded) as refusal:
            admitting.check_time(60.0, model="large")
        ended = int((refusal.value.retry_after_s or 0) / 4.0)
        with admitting.wait_estimator.counting("large", 20 - ended):
            admitting.check_time(60.0, model="large")


def test_a_request_is_read_if_one_of_the_models_could_be_in_time() -> None:
    with admission() as admitting, admitting.wait_estimator.counting("large", 20):
        admitting.check_time(60.0)

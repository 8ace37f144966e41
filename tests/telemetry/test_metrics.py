import pytest

from app.engine.models.precision import PrecisionChoice, as_set
from app.telemetry import StepTimes, Telemetry
from app.telemetry.metrics import outcome_class
from tests.fakes import ManualClock

FLOAT32 = as_set("float32")


class Busy:
    """A step whose threads have worked ``seconds``."""

    threads = 2
    waiting = 3

    def __init__(self) -> None:
        self.seconds = 0.0

    def busy_s(self) -> float:
        return self.seconds


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "ok"),
        (304, "failed"),
        (400, "refused"),
        (422, "refused"),
        (429, "overloaded"),
        (499, "disconnected"),
        (500, "failed"),
        (503, "overloaded"),
        (504, "failed"),
    ],
)
def test_each_status_has_its_outcome_class(status: int, expected: str) -> None:
    assert outcome_class(status) == expected


def test_the_work_of_a_cancelled_request_is_wasted() -> None:
    telemetry, clock = Telemetry(), ManualClock()
    steps = StepTimes(clock)
    with steps.step("decode"):
        clock.advance(0.25)
    steps.current = "batch"
    telemetry.steps_ended(steps, outcome="ok")
    telemetry.steps_ended(steps, outcome="client-disconnected")

    assert value(telemetry, "cutout_cancelled_total", step="batch") == 1
    assert value(telemetry, "cutout_wasted_seconds_total", step="decode") == 0.25
    assert value(telemetry, "cutout_step_duration_seconds_count", step="decode") == 2


def test_busy_seconds_of_the_threads_determine_the_saturation() -> None:
    telemetry, step = Telemetry(), Busy()
    telemetry.watch_steps({"decode": step}, cores=4)
    telemetry.sample(now_s=0.0, cpu_s=1.0)
    step.seconds = 1.5
    telemetry.sample(now_s=1.0, cpu_s=1.5)
    for outcome in ("ok", "overloaded", "overloaded"):
        telemetry.request_ended("/v1/mask", model="u2netp", outcome=outcome, status=200, duration_s=0.1)
    telemetry.sample(now_s=2.0, cpu_s=2.0)

    assert value(telemetry, "cutout_step_busy_seconds_total", step="decode") == 1.5
    assert value(telemetry, "cutout_step_workers", step="decode") == 2
    assert value(telemetry, "cutout_step_queue_depth", step="decode") == 3
    assert value(telemetry, "cutout_saturation_ratio") == pytest.approx(1.5 / 2 / 2 * 3)


def test_a_models_metrics_are_exported_while_it_is_in_memory() -> None:
    telemetry = Telemetry(requested_device="auto")
    telemetry.runs.watch_queue(lambda model: 0.5, lambda model: 1.5)
    telemetry.runs.model_loaded(
        "u2netp", "CPUExecutionProvider", choice=FLOAT32, load_s=2.0, warmup_s={1: 0.1, 2: 0.2}
    )
    provider = {"model": "u2netp", "requested": "auto", "active": "CPUExecutionProvider"}

    assert value(telemetry, "cutout_provider_info", **provider) == 1
    assert value(telemetry, "cutout_engine_up", model="u2netp") == 1
    assert value(telemetry, "cutout_model_load_seconds", model="u2netp") == 2.0
    assert value(telemetry, "cutout_warmup_seconds", model="u2netp", batch_bucket="2") == 0.2
    assert value(telemetry, "cutout_queue_oldest_age_seconds", model="u2netp") == 0.5
    assert value(telemetry, "cutout_estimated_wait_seconds", model="u2netp") == 1.5
    telemetry.runs.model_unloaded("u2netp", "CPUExecutionProvider")
    assert value(telemetry, "cutout_provider_info", **provider) is None
    assert value(telemetry, "cutout_engine_up", model="u2netp") == 0
    assert value(telemetry, "cutout_queue_oldest_age_seconds", model="u2netp") is None


def test_a_models_precision_is_exported_while_it_is_in_memory() -> None:
    telemetry = Telemetry()
    choice = PrecisionChoice("int8", "auto", "int8 is 1.82 times as fast", 1.82, 0.003)
    telemetry.runs.model_loaded("a", "CPUExecutionProvider", choice=choice, load_s=2.0, warmup_s={})
    telemetry.runs.model_loaded("b", "CPUExecutionProvider", choice=FLOAT32, load_s=2.0, warmup_s={})
    info = {"requested": "auto", "active": "int8"}

    assert value(telemetry, "cutout_precision_info", model="a", **info) == 1
    assert value(telemetry, "cutout_precision_speed_ratio", model="a") == 1.82
    assert value(telemetry, "cutout_precision_difference", model="a") == 0.003
    assert value(telemetry, "cutout_precision_info", model="b", requested="float32", active="float32") == 1
    assert value(telemetry, "cutout_precision_speed_ratio", model="b") is None
    telemetry.runs.model_unloaded("a", "CPUExecutionProvider")
    assert value(telemetry, "cutout_precision_info", model="a", **info) is None
    assert value(telemetry, "cutout_precision_speed_ratio", model="a") is None


def test_a_run_is_counted_at_its_start_and_timed_at_its_end() -> None:
    telemetry = Telemetry()
    telemetry.runs.model_loaded("u2netp", "CPUExecutionProvider", choice=FLOAT32, load_s=2.0, warmup_s={})
    telemetry.runs.batch_sent("u2netp", size=4, reason="full")
    telemetry.runs.batch_sent("u2netp", size=4, reason="slot_free")
    telemetry.runs.batch_ran("u2netp", size=4, pictures=3, duration_s=0.1)
    run = {"model": "u2netp", "provider": "CPUExecutionProvider", "batch_bucket": "4"}

    assert value(telemetry, "cutout_infer_executions_total", **run) == 2
    assert value(telemetry, "cutout_infer_duration_seconds_count", **run) == 1
    assert value(telemetry, "cutout_batch_dispatch_total", model="u2netp", reason="full") == 1
    assert value(telemetry, "cutout_batch_slots_padded_total", model="u2netp") == 1
    assert value(telemetry, "cutout_batch_size_sum", model="u2netp", bucket="4") == 3


def test_gpu_memory_is_read_at_each_scrape() -> None:
    telemetry, used = Telemetry(), [1.0]
    telemetry.watch_gpu(used_bytes=lambda: used[0], total_bytes=lambda: 8.0)
    used[0] = 3.0

    assert value(telemetry, "cutout_gpu_memory_bytes", kind="used") == 3.0
    assert value(telemetry, "cutout_gpu_memory_bytes", kind="total") == 8.0

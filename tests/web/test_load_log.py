from dataclasses import asdict

from structlog.testing import capture_logs

from app.engine.models.precision import PrecisionChoice
from app.web.load_log import LoadLog
from tests.fakes import RecordingObserver


def test_each_loaded_model_is_logged_with_its_precision_and_the_reason() -> None:
    observer = RecordingObserver()
    choice = PrecisionChoice("int8", "auto", "int8 is 1.82 times as fast", 1.82, 0.003)
    with capture_logs() as lines:
        LoadLog(observer).model_loaded("a", "CPU", choice=choice, load_s=1.234, warmup_s={1: 0.1})
    logged = {"event": "model loaded", "log_level": "info", "model": "a", "provider": "CPU", "load_s": 1.23}

    assert [{**logged, **asdict(choice)}] == lines
    assert {"a"} == observer.present


def test_an_unloaded_model_is_passed_on() -> None:
    observer = RecordingObserver(present={"a"})
    LoadLog(observer).model_unloaded("a", "CPU")

    assert set() == observer.present

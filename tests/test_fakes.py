"""Contract tests of each interface, run on the real implementation and on its fake."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli.removal.local import open_local
from app.cli.removal.requests import RequestTemplate
from app.cli.removal.values import Processed, Processor, Rejected
from app.engine.clock import Clock, SystemClock
from app.engine.models.backend import Backend
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.engine.models.precision import as_set
from app.engine.models.registry import ModelRegistry
from app.settings import Settings
from app.telemetry import Telemetry
from tests.fakes import ManualClock, RecordingObserver, SimulatedBackend, SimulatedProcessor, SteppingClock
from tests.networks import redness_model
from tests.pictures import jpeg, photo


@pytest.fixture(params=["real", "simulated"])
def backend(request: pytest.FixtureRequest, models_dir: Path) -> Backend:
    if request.param == "simulated":
        return SimulatedBackend()
    clock = SystemClock()
    loader = Loader(models_dir, device="cpu", probe=probe("cpu"), threads=0, max_batch=None, clock=clock)
    models = ModelRegistry(loader, ["u2netp"], maximum=1, clock=clock, observer=Telemetry().runs)
    models.load_pinned(lambda _: None)
    return models


def test_a_backend_returns_one_map_per_picture_in_order(backend: Backend) -> None:
    dark, bright = np.zeros((320, 320, 3), np.uint8), np.full((320, 320, 3), 200, np.uint8)
    bright[100:200, 100:200] = (255, 40, 10)
    together = backend.prepare_run("u2netp", np.stack([dark, bright])).result()
    alone = [backend.prepare_run("u2netp", picture[None]).result()[0] for picture in (dark, bright)]

    assert (together.shape, together.dtype) == ((2, 320, 320), np.float32)
    assert together.min() >= 0
    assert together.max() <= 1
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_a_failing_run_raises(backend: Backend) -> None:
    if isinstance(backend, SimulatedBackend):
        backend.fail_at = frozenset({0})
        batch = np.zeros((1, 320, 320, 3), np.uint8)
    else:
        batch = np.zeros((1, 7, 7, 3), np.uint8)

    with pytest.raises(Exception, match=r"."):
        backend.prepare_run("u2netp", batch).result()


def test_an_aborted_run_raises_and_the_next_run_succeeds(backend: Backend) -> None:
    batch = np.zeros((1, 320, 320, 3), np.uint8)
    run = backend.prepare_run("u2netp", batch)
    run.abort()

    with pytest.raises(Exception, match=r"."):
        run.result()
    assert backend.prepare_run("u2netp", batch).result().shape == (1, 320, 320)


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(), SteppingClock(0.5, 0.0)])
def test_a_clock_never_runs_backwards(clock: Clock) -> None:
    times_s = [clock.now_s() for _ in range(100)]

    assert sorted(times_s) == times_s


def test_a_manual_clock_refuses_to_run_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance(-1)


@pytest.mark.parametrize("observer", [Telemetry().runs, RecordingObserver()])
def test_an_observer_records_runs_and_models(observer: Any) -> None:
    observer.model_loaded("u2netp", "SomeProvider", choice=as_set("float32"), load_s=0.5, warmup_s={4: 0.1})
    observer.batch_sent("u2netp", size=4, reason="full")
    observer.batch_ran("u2netp", size=4, pictures=3, duration_s=0.1)
    observer.model_unloaded("u2netp", "SomeProvider")

    if isinstance(observer, RecordingObserver):
        assert observer.sent == [("u2netp", 4, "full")]
        assert observer.ran == [("u2netp", 3, 1)]
        assert observer.present == set()


@pytest.fixture(params=["real", "simulated"])
def processor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processor]:
    if request.param == "simulated":
        yield SimulatedProcessor()
        return
    redness_model(tmp_path, "fast")
    settings = Settings(models=("fast",), models_dir=tmp_path, device="cpu")
    with open_local(settings, RequestTemplate("cutout", {}, {})) as local:
        yield local


def test_a_processor_returns_results_and_rejects_one_picture_alone(processor: Processor) -> None:
    async def run() -> tuple[Processed, str]:
        await processor.start()
        results = await asyncio.gather(
            processor.process(jpeg(photo(40, 50))), processor.process(b"reject"), return_exceptions=True
        )
        await processor.close()
        processed, rejected = results
        assert isinstance(processed, Processed)
        assert isinstance(rejected, Rejected)
        return processed, rejected.problem.type

    processed, problem = asyncio.run(run())

    assert processor.in_flight >= 1
    assert processed.encoded
    assert ("image/png", "ok") == (processed.media_type, processed.verdict)
    assert problem in ("unsupported-format", "simulated")

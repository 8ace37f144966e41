import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader, batch_sizes
from app.engine.models.registry import ModelRegistry, ModelSource
from app.errors import InvalidOption, ModelTooLarge, ModelUnavailable, Overloaded
from tests.fakes import ManualClock, RecordingObserver, SimulatedSource

NAMES = frozenset({"a", "b", "c", "d"})


def registry_of(
    source: SimulatedSource | None = None, *pinned: str, maximum: int = 3, clock: ManualClock | None = None
) -> tuple[ModelRegistry, RecordingObserver]:
    observer = RecordingObserver()
    registry = ModelRegistry(
        source or SimulatedSource(NAMES),
        pinned or ("a",),
        maximum=maximum,
        clock=clock or ManualClock(),
        observer=observer,
    )
    registry.load_pinned(lambda _: None)
    return registry, observer


@pytest.fixture(params=["real", "simulated"])
def source(request: pytest.FixtureRequest, models_dir: Path) -> ModelSource:
    if request.param == "simulated":
        return SimulatedSource(frozenset({"u2netp"}))
    return Loader(models_dir, device="cpu", probe=probe("cpu"), threads=0, max_batch=2, clock=SystemClock())


def test_a_source_lists_and_loads_a_model_and_times_its_runs(source: ModelSource) -> None:
    loaded = source.load("u2netp")

    assert "u2netp" in source.available()
    assert loaded.session.manifest.name == "u2netp"
    assert loaded.seconds[1] > 0
    assert set(loaded.memory_bytes) == set(loaded.seconds)


def test_the_error_of_a_source_has_the_models_name(source: ModelSource) -> None:
    with pytest.raises(ModelUnavailable) as failure:
        source.load("nowhere")

    assert failure.value.model == "nowhere"


def test_concurrent_first_requests_load_a_model_once() -> None:
    never = threading.Event()
    source = SimulatedSource(NAMES, on_load=lambda _: never.wait(0.05))
    registry, _ = registry_of(source)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(registry.load, ["b"] * 16))

    assert source.loads == ["a", "b"]


def test_the_least_recently_used_model_is_unloaded_when_the_registry_is_full() -> None:
    clock = ManualClock()
    registry, observer = registry_of(None, "a", maximum=3, clock=clock)
    for name in ("b", "c", "b", "d"):
        clock.advance(1)
        registry.load(name)
        with registry.lease(name):
            pass

    assert set(registry.sessions) == observer.present == {"a", "b", "d"}


def test_a_model_in_use_is_not_unloaded() -> None:
    registry, _ = registry_of(None, "a", maximum=2)
    registry.load("b")
    with registry.lease("b"):
        with pytest.raises(Overloaded):
            registry.load("c")
        assert "b" in registry.sessions
    registry.load("c")

    assert set(registry.sessions) == {"a", "c"}


def test_idle_models_are_unloaded_except_pinned_ones() -> None:
    clock = ManualClock()
    registry, observer = registry_of(clock=clock)
    registry.load("b")
    clock.advance(100)
    registry.unload_unused(longer_than_s=99)

    assert set(registry.sessions) == observer.present == {"a"}


def test_a_lease_on_a_model_not_in_memory_yields_none() -> None:
    registry, _ = registry_of()
    with registry.lease("b") as session:
        assert session is None


@pytest.mark.parametrize("name", ["../a", "nope", "", "a/../a", "A"])
def test_an_unknown_model_is_refused_with_the_accepted_names(name: str) -> None:
    registry, _ = registry_of()
    if name == "":
        assert registry.choose(name) == "a"
        return
    with pytest.raises(InvalidOption) as refusal:
        registry.choose(name)

    assert refusal.value.accepted == "a, b, c, d"


def test_a_damaged_model_is_loaded_once_only() -> None:
    source = SimulatedSource(NAMES, damaged=frozenset({"b"}))
    registry, _ = registry_of(source)
    with pytest.raises(ModelUnavailable):
        registry.load(registry.choose("b"))
    with pytest.raises(ModelUnavailable):
        registry.choose("b")

    assert source.loads == ["a", "b"]


def test_a_damaged_default_model_fails_the_start() -> None:
    with pytest.raises(ModelUnavailable):
        registry_of(SimulatedSource(NAMES, damaged=frozenset({"a"})))


def test_another_damaged_model_is_reported_and_left_out() -> None:
    reported: list[str] = []
    registry = ModelRegistry(
        SimulatedSource(NAMES, damaged=frozenset({"b"})),
        ("a", "b"),
        maximum=1,
        clock=ManualClock(),
        observer=RecordingObserver(),
    )
    registry.load_pinned(lambda error: reported.append(error.model))

    assert (reported, set(registry.sessions)) == (["b"], {"a"})


def test_loading_a_model_reports_its_costs() -> None:
    costs: dict[str, object] = {}
    registry, _ = registry_of()
    registry.on_costs = costs.__setitem__
    registry.load("b")

    assert costs == {"b": {1: 0.001}}


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (32, (1, 2, 4, 8, 16, 32)), (5, (1, 2, 4))]
)
def test_warmed_sizes_are_powers_of_two(largest: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(largest) == sizes


def limited(limit_bytes: int, *pinned: str, **sizes: int) -> ModelRegistry:
    source = SimulatedSource(NAMES, memory_bytes=sizes)
    return ModelRegistry(
        source,
        pinned,
        maximum=3,
        clock=ManualClock(),
        observer=RecordingObserver(),
        limit_bytes=limit_bytes,
    )


def test_a_model_that_does_not_fit_with_the_pinned_ones_is_refused_and_not_loaded_again() -> None:
    registry = limited(100, "a", a=60, b=50)
    registry.load_pinned(lambda _: None)
    for _ in range(2):
        with pytest.raises(ModelTooLarge) as refusal:
            registry.load("b")

    assert refusal.value.facts() == {"model": "b", "needed_bytes": 50, "limit_bytes": 40}
    assert registry.names == ("a",)
    assert registry._source.loads == ["a", "b"]  # type: ignore[attr-defined] # of the fake


def test_idle_models_make_room_in_memory() -> None:
    registry = limited(100, "a", a=40, b=50, c=55)
    registry.load_pinned(lambda _: None)
    registry.load("b")
    registry.load("c")

    assert registry.names == ("a", "c")


def test_a_model_waits_for_memory_while_the_others_are_in_use() -> None:
    registry = limited(100, "a", a=40, b=50, c=55)
    registry.load_pinned(lambda _: None)
    registry.load("b")
    with registry.lease("b"), pytest.raises(Overloaded):
        registry.load("c")

    assert registry.names == ("a", "b")


def test_the_start_fails_if_a_pinned_model_does_not_fit() -> None:
    with pytest.raises(ModelUnavailable) as failure:
        limited(100, "a", "b", a=60, b=50).load_pinned(lambda _: None)

    assert "CUTOUT_ENGINE__MODELS_BYTES leaves 40" in failure.value.reason
    assert (failure.value.model, failure.value.contradicts_settings) == ("b", True)

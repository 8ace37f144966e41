import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader, batch_sizes
from app.engine.models.registry import ModelRegistry, ModelSource
from app.errors import InvalidOption, ModelUnavailable, Overloaded
from tests.fakes import ManualClock, RecordingObserver, SimulatedSource

NAMES = frozenset({"a", "b", "c", "d"})


def models(
    source: SimulatedSource | None = None, *pinned: str, maximum: int = 3, clock: ManualClock | None = None
) -> tuple[ModelRegistry, RecordingObserver]:
    observer = RecordingObserver()
    shelf = ModelRegistry(
        source or SimulatedSource(NAMES),
        pinned or ("a",),
        maximum=maximum,
        clock=clock or ManualClock(),
        observer=observer,
    )
    shelf.load_pinned(lambda _: None)
    return shelf, observer


@pytest.fixture(params=["real", "simulated"])
def source(request: pytest.FixtureRequest, models_dir: Path) -> ModelSource:
    if request.param == "simulated":
        return SimulatedSource(frozenset({"u2netp"}))
    return Loader(models_dir, device="cpu", probe=probe("cpu"), threads=0, max_batch=2, clock=SystemClock())


def test_a_source_finds_loads_and_knows_what_runs_cost(source: ModelSource) -> None:
    loaded = source.load("u2netp")

    assert "u2netp" in source.found()
    assert loaded.session.manifest.name == "u2netp"
    assert loaded.seconds[1] > 0


def test_a_source_says_which_model_it_cannot_load(source: ModelSource) -> None:
    with pytest.raises(ModelUnavailable) as failure:
        source.load("nowhere")

    assert failure.value.model == "nowhere"


def test_concurrent_first_requests_load_a_model_once() -> None:
    loading = threading.Event()
    source = SimulatedSource(NAMES, on_load=lambda _: loading.wait(0.05))
    shelf, _ = models(source)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(shelf.load, ["b"] * 16))

    assert source.loads == ["a", "b"]


def test_the_longest_unused_model_leaves_when_its_place_is_needed() -> None:
    clock = ManualClock()
    shelf, observer = models(None, "a", maximum=3, clock=clock)
    for name in ("b", "c", "b", "d"):
        clock.advance(1)
        shelf.load(name)
        with shelf.lease(name):
            pass

    assert set(shelf.sessions) == observer.present == {"a", "b", "d"}


def test_a_model_in_use_never_leaves() -> None:
    shelf, _ = models(None, "a", maximum=2)
    shelf.load("b")
    with shelf.lease("b"):
        with pytest.raises(Overloaded):
            shelf.load("c")
        assert "b" in shelf.sessions
    shelf.load("c")

    assert set(shelf.sessions) == {"a", "c"}


def test_an_unused_model_leaves_by_age_and_a_pinned_one_stays() -> None:
    clock = ManualClock()
    shelf, observer = models(clock=clock)
    shelf.load("b")
    clock.advance(100)
    shelf.unload_unused(longer_than_s=99)

    assert set(shelf.sessions) == observer.present == {"a"}


def test_a_lease_on_a_model_that_is_not_there_holds_nothing() -> None:
    shelf, _ = models()
    with shelf.lease("b") as session:
        assert session is None


@pytest.mark.parametrize("name", ["../a", "nope", "", "a/../a", "A"])
def test_a_name_that_is_no_model_is_refused_with_those_that_are(name: str) -> None:
    shelf, _ = models()
    if name == "":
        assert shelf.choose(name) == "a"
        return
    with pytest.raises(InvalidOption) as refusal:
        shelf.choose(name)

    assert refusal.value.accepted == "a, b, c, d"


def test_a_damaged_model_is_looked_at_once() -> None:
    source = SimulatedSource(NAMES, damaged=frozenset({"b"}))
    shelf, _ = models(source)
    with pytest.raises(ModelUnavailable):
        shelf.load(shelf.choose("b"))
    with pytest.raises(ModelUnavailable):
        shelf.choose("b")

    assert source.loads == ["a", "b"]


def test_without_its_default_model_nothing_starts() -> None:
    with pytest.raises(ModelUnavailable):
        models(SimulatedSource(NAMES, damaged=frozenset({"a"})))


def test_a_damaged_model_beside_the_default_is_told_and_left_out() -> None:
    told: list[str] = []
    shelf = ModelRegistry(
        SimulatedSource(NAMES, damaged=frozenset({"b"})),
        ("a", "b"),
        maximum=1,
        clock=ManualClock(),
        observer=RecordingObserver(),
    )
    shelf.load_pinned(lambda error: told.append(error.model))

    assert (told, set(shelf.sessions)) == (["b"], {"a"})


def test_costs_of_a_model_are_passed_on_when_it_comes() -> None:
    costs: dict[str, object] = {}
    shelf, _ = models()
    shelf.on_costs = costs.__setitem__
    shelf.load("b")

    assert costs == {"b": {1: 0.001}}


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (32, (1, 2, 4, 8, 16, 32)), (5, (1, 2, 4))]
)
def test_warmed_sizes_are_powers_of_two(largest: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(largest) == sizes

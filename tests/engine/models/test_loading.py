"""Loading in each precision, with small graphs; the clock decides which of them is fast."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.engine.clock import Clock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.engine.models.manifest import read_manifest, write_manifest
from app.engine.models.precision import RequestedPrecision
from app.engine.models.registry import ModelRegistry
from app.errors import ModelUnavailable
from app.pipeline.photographs import photographs
from tests.fakes import ManualClock, RecordingObserver, SteppingClock
from tests.networks import FULL_REDNESS, SIDE, add_redness_precision, redness_model

OTHER_REDNESS = 110.0


def loader_of(
    folder: Path, precision: RequestedPrecision = "auto", clock: Clock | None = None, max_batch: int = 1
) -> Loader:
    return Loader(
        folder,
        device="cpu",
        probe=probe("cpu"),
        threads=1,
        max_batch=max_batch,
        clock=clock or twice_as_fast(),
        precision=precision,
        photographs=photographs,
    )


def twice_as_fast() -> SteppingClock:
    """Return a clock by which the second graph takes half as long as float32."""
    return SteppingClock(0.4, 0.0, 0.2, 0.0)


def expected_difference() -> float:
    """Return the mean difference between both rednesses on the photographs, computed pixel by pixel."""
    total, count = 0.0, 0
    for photograph in photographs(SIDE):
        for red, _, blue in photograph.reshape(-1, 3).tolist():
            redness = max(0, red - blue)
            total += abs(min(1.0, redness / FULL_REDNESS) - min(1.0, redness / OTHER_REDNESS))
            count += 1
    return total / count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the model ``a`` in float32 and int8, with the same maps."""
    add_redness_precision(redness_model(tmp_path, "a", SIDE))
    return tmp_path


def test_a_faster_graph_with_the_same_maps_is_served(folder: Path) -> None:
    session = loader_of(folder).load("a").session

    assert ("int8", 2.0, 0.0) == (
        session.choice.precision,
        pytest.approx(session.choice.speed_ratio),
        session.choice.difference,
    )


def test_a_graph_that_is_hardly_faster_is_not_served(folder: Path) -> None:
    choice = loader_of(folder, clock=SteppingClock(0.22, 0.0, 0.2, 0.0)).load("a").session.choice

    assert ("float32", "int8 is 1.10 times as fast, less than 1.3") == (choice.precision, choice.reason)


@pytest.mark.parametrize(("margin", "expected"), [(-0.0021, "float32"), (-0.0019, "int8")])
def test_maps_may_differ_as_much_as_the_manifest_says_and_a_little_more(
    tmp_path: Path, margin: float, expected: str
) -> None:
    stated = expected_difference() + margin
    add_redness_precision(redness_model(tmp_path, "a", SIDE), full=OTHER_REDNESS, difference=stated)
    choice = loader_of(tmp_path).load("a").session.choice

    assert expected == choice.precision
    assert expected_difference() == pytest.approx(choice.difference, abs=1e-6)
    assert ("may saturate" in choice.reason) == (expected == "float32")


@pytest.mark.parametrize(("precision", "redness"), [("float32", FULL_REDNESS), ("int8", OTHER_REDNESS)])
def test_the_precision_of_the_settings_is_served_without_a_comparison(
    tmp_path: Path, precision: RequestedPrecision, redness: float
) -> None:
    add_redness_precision(redness_model(tmp_path, "a", SIDE), full=OTHER_REDNESS, difference=0.0)
    session = loader_of(tmp_path, precision).load("a").session
    batch = np.full((1, SIDE, SIDE, 3), (100, 0, 45), np.uint8)

    assert (precision, None) == (session.choice.precision, session.choice.speed_ratio)
    np.testing.assert_allclose(session.infer(batch), 55 / redness, rtol=1e-6)


def test_without_an_int8_graph_auto_is_float32(tmp_path: Path) -> None:
    add_redness_precision(redness_model(tmp_path, "a", SIDE), "fp16")  # which only CUDA tries
    choice = loader_of(tmp_path).load("a").session.choice

    assert ("float32", "no int8 file in the manifest") == (choice.precision, choice.reason)


@pytest.mark.parametrize("precision", ["auto", "int8"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_graph_is_never_replaced_by_another_precision(
    folder: Path, precision: RequestedPrecision, damage: str
) -> None:
    file = folder / "a" / "model.int8.onnx"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.unlink()
    if damage == "changed":
        file.write_bytes(changed)

    with pytest.raises(ModelUnavailable) as refusal:
        loader_of(folder, precision).load("a")
    assert "model.int8.onnx" in refusal.value.reason
    assert "float32" == loader_of(folder, "float32").load("a").session.choice.precision


def test_a_graph_whose_difference_is_unknown_is_refused(folder: Path) -> None:
    manifest = read_manifest(folder / "a")
    unknown = replace(manifest.precisions["int8"], quality={})
    write_manifest(replace(manifest, precisions={"int8": unknown}), folder / "a")

    with pytest.raises(ModelUnavailable) as refusal:
        loader_of(folder).load("a")
    assert refusal.value.reason.endswith("the manifest has no d of int8")


def test_a_model_keeps_its_precision_when_it_is_loaded_again(folder: Path) -> None:
    # The first comparison has the ratio 2; a second one would have 1.
    loader = loader_of(folder, clock=SteppingClock(*(0.4, 0.0, 0.2, 0.0) * 2, *(0.1,) * 100))
    first, second = (loader.load("a").session.choice for _ in range(2))

    assert "int8" == first.precision
    assert first == second


def test_the_estimates_have_the_times_of_the_graph_that_is_served(folder: Path) -> None:
    clock = SteppingClock(*(0.4, 0.0, 0.2, 0.0) * 2, 0.9, 0.05, 0.0)
    loaded = loader_of(folder, clock=clock).load("a")

    assert "int8" == loaded.session.choice.precision
    assert {1: 0.05} == pytest.approx(dict(loaded.seconds))


def test_a_pinned_model_without_the_precision_of_the_settings_stops_the_start(folder: Path) -> None:
    redness_model(folder, "b", SIDE)
    registry = registry_of(loader_of(folder, "int8"), "a", "b")

    with pytest.raises(ModelUnavailable, match="'b'") as refusal:
        registry.load_pinned(lambda _: None)
    assert "no int8 file in the manifest of b, but CUTOUT_PRECISION=int8" == refusal.value.reason


def test_another_model_without_it_is_unavailable_on_request(folder: Path) -> None:
    redness_model(folder, "b", SIDE)
    registry = registry_of(loader_of(folder, "int8"), "a")
    registry.load_pinned(lambda _: None)

    with pytest.raises(ModelUnavailable):
        registry.load(registry.choose("b"))
    assert ("a",) == registry.names
    assert ["b"] == list(registry.broken)


def registry_of(loader: Loader, *pinned: str) -> ModelRegistry:
    return ModelRegistry(loader, pinned, maximum=3, clock=ManualClock(), observer=RecordingObserver())


def test_the_photographs_are_real_and_fit_the_network() -> None:
    pictures = photographs(SIDE)

    assert ((2, SIDE, SIDE, 3), np.uint8) == (pictures.shape, pictures.dtype)
    assert all(picture.std() > 30 for picture in pictures)


def test_a_model_is_warmed_for_no_larger_batch_than_it_can_run(tmp_path: Path) -> None:
    folder = redness_model(tmp_path, "single", SIDE)
    write_manifest(replace(read_manifest(folder), max_batch=1), folder)

    assert {1} == set(loader_of(tmp_path, "float32", max_batch=4).load("single").seconds)


@pytest.mark.parametrize("max_batch", [0, -1, 1.5, "1"])
def test_a_manifest_with_a_malformed_max_batch_is_refused(max_batch: object, tmp_path: Path) -> None:
    folder = redness_model(tmp_path, "single", SIDE)
    write_manifest(replace(read_manifest(folder), max_batch=max_batch), folder)  # type: ignore[arg-type]

    with pytest.raises(ModelUnavailable) as caught:
        read_manifest(folder)

    assert "max_batch" in caught.value.reason

import numpy as np
import pytest

from app.engine.models.manifest import Variant
from app.engine.models.precision import MAX_ROUNDS, Measured, decide, measure
from tests.fakes import (
    IN_FLOAT32,
    ManualClock,
    SimulatedBackend,
    SimulatedSession,
    SimulatedSource,
    SteppingClock,
)

MANIFEST = SimulatedSource(frozenset({"a"})).load("a").session.manifest
BATCHES = [np.full((1, 4, 4, 3), brightness, np.uint8) for brightness in (51, 204)]


def variant(difference: float) -> Variant:
    return Variant("model.int8.onnx", "1" * 64, 1, {"d": difference})


def network(backend: SimulatedBackend | None = None) -> SimulatedSession:
    return SimulatedSession(MANIFEST, "simulated", IN_FLOAT32, backend or SimulatedBackend())


@pytest.mark.parametrize(
    ("candidate", "ratio", "difference", "expected", "reason"),
    [
        ("int8", 1.821, 0.0031, "int8", "int8 is 1.82 times as fast and differs by 0.0031, at most 0.0046"),
        ("int8", 1.3, 0.0046, "int8", "int8 is 1.30 times as fast and differs by 0.0046, at most 0.0046"),
        ("int8", 1.2999, 0.0031, "float32", "int8 is 1.29 times as fast, less than 1.3"),
        ("int8", 0.504, 0.0, "float32", "int8 is 0.50 times as fast, less than 1.3"),
        (
            "int8",
            1.8,
            0.00461,
            "float32",
            "int8 differs by 0.0047, more than 0.0046 (a processor without VNNI may saturate)",
        ),
        ("fp16", 1.8, 0.5, "float32", "fp16 differs by 0.5000, more than 0.0046"),
        ("fp16", 1.8, float("nan"), "float32", "fp16 has maps that are not finite"),
    ],
)
def test_the_faster_graph_is_served_if_its_gain_is_worth_it_and_its_maps_are_right(
    candidate: str, ratio: float, difference: float, expected: str, reason: str
) -> None:
    choice = decide(candidate, variant(0.0026), Measured(ratio, difference))

    assert (expected, "auto", reason) == (choice.precision, choice.requested, choice.reason)
    assert ratio == choice.speed_ratio


def test_the_ratio_is_that_of_the_times_of_both_graphs() -> None:
    clock = ManualClock()
    slow, fast = (network(SimulatedBackend(alpha_s=s, spend=clock.advance)) for s in (0.4, 0.25))

    assert measure(slow, fast, BATCHES, clock).speed_ratio == pytest.approx(1.6)
    assert measure(fast, slow, BATCHES, clock).speed_ratio == pytest.approx(0.625)


def test_rounds_end_when_all_ratios_agree() -> None:
    backend = SimulatedBackend()
    measure(network(backend), network(), BATCHES, SteppingClock(0.4, 0.0, 0.2, 0.0))

    assert [("a", [51]), ("a", [51]), ("a", [204])] == backend.batches


def test_ratios_that_disagree_are_repeated_and_their_median_counts() -> None:
    backend = SimulatedBackend()
    # The ratios are 1, 2, 2, and again.
    clock = SteppingClock(0.2, 0.0, 0.2, 0.0, 0.4, 0.0, 0.2, 0.0, 0.4, 0.0, 0.2, 0.0)
    measured = measure(network(backend), network(), BATCHES, clock)

    assert measured.speed_ratio == pytest.approx(2)
    assert len(backend.batches) == 1 + MAX_ROUNDS * len(BATCHES)


def test_both_graphs_run_in_turn() -> None:
    order: list[str] = []
    first = network(SimulatedBackend(on_run=lambda _: order.append("first")))
    second = network(SimulatedBackend(on_run=lambda _: order.append("second")))
    measure(first, second, BATCHES, SteppingClock(0.4, 0.0, 0.2, 0.0))

    assert ["first", "second"] * 3 == order


def test_a_map_that_is_not_finite_is_never_served() -> None:
    poisoned = network(SimulatedBackend(poison_at=frozenset({204})))
    measured = measure(network(), poisoned, BATCHES, SteppingClock(0.4, 0.0, 0.2, 0.0))

    assert "float32" == decide("int8", variant(1.0), measured).precision

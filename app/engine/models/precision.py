"""Precision: chooses whether a model is served in float32, or by its faster graph in int8 or fp16.

Whether the other graph is faster, and whether it gives the same maps, depends on the processor: int8 has its
own instructions on some, and on others its sums may saturate. So both graphs run on the same photographs on
this machine, when the model is loaded (``docs/adr/0021``). ``decide`` is pure; ``measure`` runs the graphs.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.clock import Clock
from app.engine.models.backend import Run
from app.engine.models.manifest import FLOAT32, Manifest, Variant
from app.errors import ModelUnavailable

RequestedPrecision = Literal["auto", "float32", "int8", "fp16"]
AUTO: RequestedPrecision = "auto"
MIN_SPEED_RATIO = 1.3
"""A smaller gain is not worth another map."""
DIFFERENCE = "d"
"""The key of a variant's quality that has the mean difference of its maps."""
DIFFERENCE_MARGIN = 0.002
"""A few photographs have another mean difference than the set of pictures in the manifest."""
MAX_ROUNDS = 3
"""Both graphs run on all photographs once in a round; rounds that disagree are repeated."""
SHORTEST_S = 1e-6
"""The clock may not advance during the run of a tiny graph."""
_MAY_SATURATE = " (a processor without VNNI may saturate)"

Photographs = Callable[[int], NetworkInput]
"""Returns photographs as inputs of a network with side S, uint8 (K, S, S, 3)."""


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The precision that a model is served in, and why.

    Attributes:
        precision: ``float32``, ``int8`` or ``fp16``.
        requested: The precision in the settings.
        reason: Why, as a part of a sentence.
        speed_ratio: How many times as fast as float32 the other graph ran; None if it did not run.
        difference: The mean absolute difference of its maps from those in float32, likewise.
    """

    precision: str
    requested: RequestedPrecision
    reason: str
    speed_ratio: float | None = None
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What ``measure`` found; as in ``PrecisionChoice``."""

    speed_ratio: float
    difference: float


class Network(Protocol):
    """A graph that can run."""

    def prepare_run(self, batch: NetworkInput) -> Run:
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        ...


def as_set(requested: RequestedPrecision) -> PrecisionChoice:
    """Return the choice of the settings, if that is not ``auto``."""
    return PrecisionChoice(requested, requested, f"CUTOUT_PRECISION={requested}")


def check_precision(requested: RequestedPrecision, manifest: Manifest) -> None:
    """Check that a model has the precision of the settings.

    Raises:
        ModelUnavailable: It has not; the files do not contradict each other, but the settings.
    """
    if requested in (AUTO, FLOAT32) or requested in manifest.precisions:
        return
    reason = f"no {requested} file in the manifest of {manifest.name}, but CUTOUT_PRECISION={requested}"
    raise ModelUnavailable(manifest.name, reason, contradicts_settings=True)


def without(candidate: str) -> PrecisionChoice:
    """Return the choice for a model that has no graph in the precision that this device might run faster."""
    return PrecisionChoice(FLOAT32, AUTO, f"no {candidate} file in the manifest")


def decide(candidate: str, variant: Variant, measured: Measured) -> PrecisionChoice:
    """Choose between float32 and ``candidate``, whose map must be right and whose gain worth it.

    Args:
        candidate: The precision of the other graph.
        variant: Its entry in the manifest, with the difference that the export measured.
        measured: What this machine measured.
    """
    limit = variant.quality[DIFFERENCE] + DIFFERENCE_MARGIN
    ratio, difference = measured.speed_ratio, measured.difference
    if not math.isfinite(difference):
        return PrecisionChoice(FLOAT32, AUTO, f"{candidate} has maps that are not finite", ratio)
    if difference > limit:
        hint = _MAY_SATURATE if candidate == "int8" else ""
        shown = f"{_rounded_up(difference, 10_000):.4f}, more than {_rounded_down(limit, 10_000):.4f}"
        return PrecisionChoice(FLOAT32, AUTO, f"{candidate} differs by {shown}{hint}", ratio, difference)
    fast = f"{candidate} is {_rounded_down(ratio, 100):.2f} times as fast"
    if ratio < MIN_SPEED_RATIO:
        return PrecisionChoice(FLOAT32, AUTO, f"{fast}, less than {MIN_SPEED_RATIO}", ratio, difference)
    reason = f"{fast} and differs by {difference:.4f}, at most {limit:.4f}"
    return PrecisionChoice(candidate, AUTO, reason, ratio, difference)


def measure(float32: Network, other: Network, batches: list[NetworkInput], clock: Clock) -> Measured:
    """Run two graphs on the same batches in turn, and compare their speed and their maps.

    The first run of each graph is not timed, because it allocates. The ratio is the median over pairs of
    neighbouring runs, so that other programs on the machine slow down both. Rounds end as soon as all ratios
    are on one side of ``MIN_SPEED_RATIO``: most machines need one.

    Args:
        float32: The graph in float32.
        other: The graph in another precision.
        batches: Inputs, uint8 (N, S, S, 3) each.
        clock: Times the runs.
    """
    for network in (float32, other):
        network.prepare_run(batches[0]).result()
    differences: list[float] = []
    ratios: list[float] = []
    for _ in range(MAX_ROUNDS):
        for batch in batches:
            reference, reference_s = _timed(float32, batch, clock)
            saliency, other_s = _timed(other, batch, clock)
            ratios.append(reference_s / max(other_s, SHORTEST_S))
            differences.append(float(np.mean(np.abs(saliency - reference), dtype=np.float64)))
        if min(ratios) >= MIN_SPEED_RATIO or max(ratios) < MIN_SPEED_RATIO:
            break
    return Measured(statistics.median(ratios), statistics.fmean(differences))


def _timed(network: Network, batch: NetworkInput, clock: Clock) -> tuple[SaliencyMap, float]:
    started_s = clock.now_s()
    saliency = network.prepare_run(batch).result()
    return saliency, clock.now_s() - started_s


def _rounded_down(value: float, steps: int) -> float:
    """Round down to whole ``steps`` per unit, so that a figure below a limit never reads as the limit."""
    return math.floor(round(value * steps, 6)) / steps


def _rounded_up(value: float, steps: int) -> float:
    """Round up, likewise."""
    return math.ceil(round(value * steps, 6)) / steps

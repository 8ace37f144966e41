"""Judge: measures how far a graph is from the float32 graph, and refuses one that is too far."""

from collections.abc import Sequence

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.onnx_import.refusal import GraphRefused, RunFailed
from app.onnx_import.runner import Runner

MAX_D = 0.004
"""The largest d, the mean |difference| of two maps: one step of 8 bits."""
BATCH_LIMITS = {"int8": 1e-5, "fp16": 5e-3}
"""The largest difference between a map alone and in a batch."""


def maps_of(model_bytes: bytes, pictures: Sequence[NetworkInput]) -> list[SaliencyMap]:
    """Return the map of each picture alone, (S, S) float32.

    Args:
        model_bytes: A graph with the serving contract.
        pictures: Each (S, S, 3) uint8.
    """
    runner = Runner.load(model_bytes)
    return [np.asarray(runner.run(picture[None])[0][0], np.float32) for picture in pictures]


def differences(ones: Sequence[SaliencyMap], others: Sequence[SaliencyMap]) -> list[float]:
    """Return d of each pair of maps; NaN if one has a value that is not finite."""
    return [mean_difference(one, other) for one, other in zip(ones, others, strict=True)]


def mean_difference(one: SaliencyMap, other: SaliencyMap) -> float:
    """Return d, the mean |difference| of two maps of one shape."""
    return float(np.abs(one.astype(np.float64) - other).mean())


def require_close(
    variant_bytes: bytes, precision: str, pictures: Sequence[NetworkInput], expected: Sequence[SaliencyMap]
) -> dict[str, float]:
    """Return the figures of a graph in another precision: the mean d, its 95th percentile and the largest.

    Args:
        variant_bytes: The graph.
        precision: ``int8`` or ``fp16``.
        pictures: Pictures that were not used to make it, each (S, S, 3) uint8.
        expected: The float32 graph's maps of them.

    Raises:
        GraphRefused: Its mean d is above ``MAX_D``, or it cannot run.
    """
    try:
        found = differences(maps_of(variant_bytes, pictures), expected)
    except RunFailed as error:
        raise GraphRefused(f"ONNX Runtime cannot run the {precision} graph: {error}") from error
    d = float(np.mean(found))
    if not d <= MAX_D:  # true of NaN too
        hint = " (a processor without VNNI may add to it)" if precision == "int8" else ""
        raise GraphRefused(
            f"The {precision} graph is too far from float32: its maps of {len(pictures)} pictures that were "
            f"held back differ by {d:.4f} in the mean, more than {MAX_D:g}{hint}. Nothing was added. "
            "Add the network without it."
        )
    figures = {"d": d, "d_p95": np.percentile(found, 95), "d_worst": np.max(found)}
    return {name: round(float(figure), 6) for name, figure in figures.items()}


def require_batches(variant_bytes: bytes, precision: str, pictures: NetworkInput) -> None:
    """Check that a graph gives pictures the same maps alone and together.

    Args:
        variant_bytes: The graph.
        precision: ``int8`` or ``fp16``.
        pictures: (N, S, S, 3) uint8.

    Raises:
        GraphRefused: It does not.
    """
    try:
        together = Runner.load(variant_bytes).run(pictures)[0]
    except RunFailed as error:
        raise GraphRefused(f"ONNX Runtime cannot run a batch of the {precision} graph: {error}") from error
    difference = float(np.abs(np.stack(maps_of(variant_bytes, list(pictures))) - together).max())
    if not difference <= BATCH_LIMITS[precision]:
        raise GraphRefused(
            f"The {precision} graph mixes the pictures of a batch; its maps differ by {difference:.2g}."
        )

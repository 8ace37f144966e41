"""Calibrate: finds the ranges of an exported graph's tensors on pictures, for the file of ranges."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.onnx_import.precision import calibrate as graph
from model_export.network_inputs import read_network_inputs
from model_export.ranges import Ranges


def calibrate(
    model_bytes: bytes,
    pictures: Sequence[Path],
    size_px: int,
    *,
    model: str,
    data: str,
    method: str = graph.MIN_MAX,
    track: Callable[[Iterable[NDArray[np.uint8]], str], Iterable[NDArray[np.uint8]]] = lambda each, _: each,
) -> Ranges:
    """Return the ranges of a float32 graph's tensors on pictures.

    Args:
        model_bytes: An exported float32 graph.
        pictures: Files of pictures.
        size_px: Side of the network's input.
        model: The model's name, for the record.
        data: The name of the set of pictures, for the record.
        method: ``squared-error`` or ``min-max``, which takes the observed range.
        track: Shows progress over the pictures of a run with a title.
    """
    found = graph.calibrate(
        model_bytes, lambda title: track(read_network_inputs(pictures, size_px), title), method=method
    )
    return Ranges(
        model=model,
        data=data,
        pictures=len(pictures),
        method=method,
        activations=found.activations,
        means=found.means,
    )

"""Trial: runs graphs in the served runtime, and compares a served graph with the file it was made from.

The file is run plainly, one picture at a time, with its preprocessing in NumPy, which shares no code with the
served graph. The same photographs then run through the served graph alone and together.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import NetworkInput, SaliencyMap
from app.engine.models.onnxruntime_loader import onnxruntime
from app.onnx_import.anatomy import Anatomy
from app.onnx_import.refusal import GraphRefused, RunFailed
from app.onnx_import.runner import Outputs, Runner
from app.onnx_import.wrapping import MapShape
from app.weights.preprocessing import OWN_MAXIMUM, OWN_RANGE, SIGMOID, Preprocessing

BATCH_LIMIT = 1e-5
"""The largest difference between a map alone and in a batch."""
FILE_LIMITS = {"float32": 1e-3, "int8": 1e-3, "fp16": 5e-3}
"""The largest difference between the served graph's maps and the file's, by the precision of its
parameters: the runtime rounds to half precision in other places when it optimises another graph."""
SAME = 1e-6


def run_file(
    model_bytes: bytes,
    anatomy: Anatomy,
    preprocessing: Preprocessing,
    pictures: NetworkInput,
    size: tuple[int, int],
) -> list[Outputs]:
    """Run the file's own graph on pictures, one by one.

    Args:
        model_bytes: The graph.
        anatomy: What was read off it.
        preprocessing: The authors'.
        pictures: uint8 (N, S, S, 3) RGB.
        size: (height, width) of the network's input.

    Returns:
        All outputs of each picture.

    Raises:
        GraphRefused: The runtime cannot run it.
    """
    try:
        runner = Runner.load(model_bytes)
        return [runner.run(to_input(picture, anatomy, preprocessing, size)) for picture in pictures]
    except RunFailed as error:
        raise GraphRefused(f"ONNX Runtime {onnxruntime.__version__} cannot run the file: {error}") from error


def to_input(
    picture: NetworkInput, anatomy: Anatomy, preprocessing: Preprocessing, size: tuple[int, int]
) -> NDArray[np.generic]:
    """Return the input of a file's own graph for one picture, as its authors prepare it.

    Args:
        picture: uint8 (S, S, 3) RGB.
        anatomy: What was read off the graph.
        preprocessing: The authors'.
        size: (height, width) of the network's input.
    """
    values: NDArray[np.float32] = picture.astype(np.float32)
    if preprocessing.order == "bgr":
        values = values[..., ::-1]
    if values.shape[:2] != size:
        resized = cv2.resize(np.ascontiguousarray(values), size[::-1], interpolation=cv2.INTER_LINEAR)
        values = np.asarray(resized, np.float32)
    if anatomy.input.kind != "uint8":
        low = values.min() if preprocessing.scale == OWN_RANGE else np.float32(0)
        is_fixed = preprocessing.scale not in (OWN_MAXIMUM, OWN_RANGE)
        divisor = preprocessing.divisor if is_fixed else max(float((values - low).max()), 1.0)
        values = np.asarray((values - low) / np.float32(divisor), np.float32)
        mean, std = (np.array(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
        values = np.asarray((values - mean) / std, np.float32)
    prepared = values.astype(anatomy.input.kind)[None]
    if anatomy.input.layout == "NCHW":
        prepared = prepared.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(prepared)


def shape_of(output: NDArray[np.floating], size: tuple[int, int]) -> MapShape | None:
    """Return the shape of an output for one picture as a map, or None if it is none.

    Args:
        output: Of the graph.
        size: (height, width) of the network's input; a map has its proportions.
    """
    shape = output.shape
    if output.ndim not in (2, 3, 4) or (output.ndim > 2 and shape[0] != 1):
        return None
    is_last = output.ndim == 4 and shape[1] > 1 and shape[3] < min(shape[1:3])
    height, width = shape[1:3] if is_last else shape[-2:]
    channels = 1 if output.ndim < 4 else shape[3] if is_last else shape[1]
    # Boxes, or classes of flattened pixels, have other proportions; rounding moves them by a pixel.
    is_map = min(height, width) > 1 and abs(height * size[1] - width * size[0]) <= 2 * max(size)
    return MapShape(height, width, channels, is_channels_last=is_last) if is_map else None


def map_of(
    output: NDArray[np.floating],
    shape: MapShape,
    preprocessing: Preprocessing,
    *,
    side_px: int,
) -> SaliencyMap:
    """Return the saliency map of an output, float32 (S, S), in NumPy.

    Args:
        output: Of one picture.
        shape: Its shape as a map.
        preprocessing: The authors'.
        side_px: S.
    """
    saliency: NDArray[np.floating]
    if shape.channels == 1:
        saliency = output.astype(np.float32).reshape(shape.height, shape.width)
    else:
        axes = output[0].astype(np.float32)
        logits = axes if shape.is_channels_last else axes.transpose(1, 2, 0)
        powers = logits if shape.is_softmax else np.exp(logits - logits.max(axis=2, keepdims=True))
        total = np.float32(1) if shape.is_softmax else powers.sum(axis=2)
        saliency = powers[..., preprocessing.channel] / total
    if preprocessing.activation == SIGMOID:
        saliency = 1 / (1 + np.exp(-saliency))
    saliency = np.clip(saliency, 0, 1)
    if preprocessing.is_inverted:
        saliency = 1 - saliency
    if saliency.shape != (side_px, side_px):
        saliency = np.asarray(cv2.resize(saliency, (side_px, side_px), interpolation=cv2.INTER_LINEAR))
    return np.asarray(saliency, np.float32)


def run_served(model_bytes: bytes, pictures: NetworkInput) -> tuple[SaliencyMap, float | None]:
    """Run a served graph on pictures, alone and together.

    Returns:
        The maps of each picture alone, (N, S, S), and the largest difference in a batch; None if the graph
        cannot run a batch.

    Raises:
        RunFailed: It cannot run a single picture.
    """
    runner = Runner.load(model_bytes)
    alone = np.concatenate([runner.run(picture[None])[0] for picture in pictures])
    try:
        together = runner.run(pictures)[0]
    except RunFailed:
        return alone, None
    if together.shape != alone.shape:
        return alone, None
    return alone, largest_difference(alone, together)


def largest_difference(one: SaliencyMap, other: SaliencyMap) -> float:
    """Return the largest absolute difference of maps; NaN if one has a NaN."""
    return float(np.max(np.abs(one.astype(np.float64) - other)))


def require_map(maps: SaliencyMap | Sequence[SaliencyMap]) -> None:
    """Check that maps are finite, and depend on the picture.

    Raises:
        GraphRefused: They are not.
    """
    stacked = np.stack(list(maps))
    if not np.isfinite(stacked).all():
        raise GraphRefused("The graph returns values that are not finite for a photograph.")
    if largest_difference(stacked[0], stacked[1]) < SAME:
        raise GraphRefused(
            "The graph returns the same map for two different photographs, so it is no network of pictures; "
            "or its output or its activation is not the one named."
        )

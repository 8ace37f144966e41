"""Judge precision: measures how far a graph in another precision is from the float32 graph.

``d`` of a picture is the mean |difference| of both maps at network size. MAE and maxF compare each with the
true mask at its own size: the map is stretched to its full range, rounded to 8 bits and enlarged, as the
authors of U²-Net do.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.arrays import SaliencyMap
from app.onnx_import.precision.judge import mean_difference
from app.onnx_import.runner import Runner
from model_export.masks import SourceFile
from model_export.metrics import Curves, max_f_of_means, mean_absolute_error, precision_and_recall
from model_export.network_inputs import read_network_input
from model_export.samples import FOREGROUND_THRESHOLD, Sample


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """One picture: ``d``, and MAE and curves of the variant's map and of the float32 map."""

    picture: SourceFile
    d: float
    mae: tuple[float, float]
    curves: tuple[Curves, Curves]


def judge_pictures(
    float32: Runner,
    variant: Runner,
    samples: Sequence[Sample],
    size_px: int,
    *,
    track: Callable[[Iterable[Sample]], Iterable[Sample]] = iter,
) -> list[JudgedPicture]:
    """Run both graphs on every sample, and compare their maps with each other and with the truth."""
    judged = []
    for sample in track(samples):
        network_input = read_network_input(sample.picture, size_px)[None]
        (ours,), (theirs,) = variant.run(network_input)[0], float32.run(network_input)[0]
        truth = sample.read_truth() >= FOREGROUND_THRESHOLD
        enlarged = [_at_size(saliency, truth.shape) for saliency in (ours, theirs)]
        judged.append(
            JudgedPicture(
                sample.picture,
                mean_difference(ours, theirs),
                (mean_absolute_error(enlarged[0], truth), mean_absolute_error(enlarged[1], truth)),
                (precision_and_recall(enlarged[0], truth), precision_and_recall(enlarged[1], truth)),
            )
        )
    return judged


def quality_of(judged: Sequence[JudgedPicture]) -> dict[str, float]:
    """Return the figures of ``Variant.quality`` over a set."""
    differences = [each.d for each in judged]
    figures = {
        "d": np.mean(differences),
        "d_p95": np.percentile(differences, 95),
        "d_worst": np.max(differences),
        "mae": np.mean([each.mae[0] for each in judged]),
        "mae_float32": np.mean([each.mae[1] for each in judged]),
        "maxf": max_f_of_means([each.curves[0] for each in judged]),
        "maxf_float32": max_f_of_means([each.curves[1] for each in judged]),
    }
    return {name: round(float(figure), 6) for name, figure in figures.items()}


def write_sheet(
    judged: Sequence[JudgedPicture], graphs: tuple[Runner, Runner], size_px: int, path: Path
) -> None:
    """Write a contact sheet: a row for each picture, with both maps and four times their difference.

    Args:
        judged: The pictures, in the order of the rows.
        graphs: The float32 graph and the variant.
        size_px: Side of the network's input.
        path: A PNG file.
    """
    rows = []
    for each in judged:
        network_input = read_network_input(each.picture, size_px)
        maps = [graph.run(network_input[None])[0][0] for graph in graphs]
        difference = np.clip(4 * np.abs(maps[0] - maps[1]), 0, 1)
        greys = [np.repeat(_to_uint8(grey)[..., None], 3, axis=-1) for grey in (*maps, difference)]
        rows.append(np.concatenate([network_input, *greys], axis=1))
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)


def _at_size(saliency: SaliencyMap, shape: tuple[int, ...]) -> SaliencyMap:
    low, high = saliency.min(), saliency.max()
    stretched = (saliency - low) / max(float(high - low), 1e-9)
    size = shape[1], shape[0]
    enlarged = Image.fromarray(_to_uint8(stretched)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(enlarged, np.float32) / np.float32(255)


def _to_uint8(saliency: NDArray[np.floating]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(255 * saliency).astype(np.uint8)
    return rounded

"""Evaluate classes: a checkpoint and pictures with known classes become a table of figures for each class.

    python -m model_export evaluate --checkpoint runs/NAME/best.safetensors --data DIR [--only FILE]
        [--unknown-classes background]

The service returns saliency and no classes, so the network itself is judged: its score maps are enlarged
bilinearly to the size of the picture, and a pixel has the class of the largest score.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from model_export.architectures.layers import resize
from model_export.batches import normalised
from model_export.checkpoint import trained_network
from model_export.class_metrics import ClassFigures, class_figures, confusion_matrix
from model_export.datasets import resize_to_square
from model_export.errors import CommandFailed
from model_export.label_maps import Labels, Unknown
from model_export.labelled import read_labelled
from model_export.preflight import require_classes
from model_export.progress_display import with_progress
from model_export.samples import find_samples
from model_export.splits import read_split


class WithoutClasses(CommandFailed):
    """A checkpoint of a network without classes; its exported model can be judged."""


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """The figures of a checkpoint on a set, with the names of the classes."""

    checkpoint: str
    data: str
    pictures: int
    classes: tuple[str, ...]
    figures: ClassFigures


def evaluate_classes(
    checkpoint: Path,
    data: Path,
    *,
    only: Path | None = None,
    unknown: Unknown | None = None,
    console: Console | None = None,
) -> ClassEvaluation:
    """Judge the classes of a trained network.

    Args:
        checkpoint: ``best.safetensors`` or ``last.safetensors`` of a training run with classes.
        data: Pictures with label maps or annotations.
        only: A file of the names to judge; all if None.
        unknown: What annotations of other names are; as in the run's recipe if None.
        console: For progress.

    Raises:
        CheckpointInvalid: The file is not a checkpoint.
        WithoutClasses: The run has no classes.
        SamplesInvalid: The folder is not a set, or a label map differs in size from its picture.
        MaskInvalid: A file is not a label map or annotation of these classes.
    """
    console = console or Console(stderr=True, soft_wrap=True, highlight=False)
    network, run = trained_network(checkpoint)
    recipe = run.recipe if unknown is None else run.recipe.model_copy(update={"unknown_classes": unknown})
    count = len(recipe.classes)
    if not count:
        raise WithoutClasses(
            f"{checkpoint} was trained without classes. Export it, and judge the model: evaluate --model NAME"
        )
    sample_set = find_samples(data)
    if only is not None:
        sample_set = sample_set.only(read_split(only))
    require_classes(recipe, data, sample_set.samples, console)
    confusion = np.zeros((count, count), np.int64)
    for sample in with_progress(
        console, sample_set.samples, total=len(sample_set.samples), title="judging classes"
    ):
        picture, labels = read_labelled(sample, recipe)
        confusion += confusion_matrix(predict_labels(network, picture, recipe.whole_px), labels, count=count)
    return ClassEvaluation(
        checkpoint=str(checkpoint),
        data=data.resolve().name,
        pictures=len(sample_set.samples),
        classes=recipe.classes,
        figures=class_figures(confusion),
    )


def predict_labels(network: nn.Module, picture: NDArray[np.uint8], size_px: int) -> Labels:
    """Return the label of each pixel of a picture.

    Args:
        network: In evaluation mode, on the CPU.
        picture: (H, W, 3) uint8 RGB.
        size_px: The side of the network's square.

    Returns:
        (H, W) uint8.
    """
    square = torch.from_numpy(resize_to_square(picture, size_px)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        scores = resize(network(normalised(square))[0], picture.shape[:2])  # (1, K, S, S) -> (1, K, H, W)
    return np.asarray(scores[0].argmax(0).to(torch.uint8).numpy())


def write_json(evaluation: ClassEvaluation, path: Path) -> None:
    """Write the figures to a file; those that are not defined are null."""
    fields = asdict(evaluation)
    for name in ("accuracy", "iou"):
        fields["figures"][name] = [None if np.isnan(each) else each for each in fields["figures"][name]]
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def class_table(evaluation: ClassEvaluation) -> list[str]:
    """Return the lines of a Markdown table: a row for each class, and the figures of all below."""
    figures = evaluation.figures
    lines = [
        f"{evaluation.checkpoint} on {evaluation.data}: {evaluation.pictures} pictures",
        "",
        "| class | pixels | accuracy | IoU |",
        "|---|---|---|---|",
    ]
    for name, pixels, accuracy, iou in zip(
        evaluation.classes, figures.pixels, figures.accuracy, figures.iou, strict=True
    ):
        lines.append(
            f"| {name} | {pixels / sum(figures.pixels):.1%} | {_figure(accuracy)} | {_figure(iou)} |"
        )
    lines += ["", f"pixel accuracy {figures.pixel_accuracy:.4f}, mean accuracy {figures.mean_accuracy:.4f}, "]
    lines[-1] += f"mean IoU {figures.mean_iou:.4f}, "
    lines[-1] += f"frequency-weighted IoU {figures.frequency_weighted_iou:.4f}"
    return lines


def _figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"

"""Curves: rows of figures become line plots."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Plot loss, MAE and maxF over epochs as a PNG, and mean IoU if there are classes.

    Args:
        rows: One per epoch, with ``epoch``, ``loss``, ``mae`` and ``max_f``, and ``mean_iou`` if there are
            classes; epoch 0 has no loss.
        path: The PNG to write.
    """
    titles = {"loss": "training loss", "mae": "MAE, held out", "max_f": "maxF, held out"}
    if "mean_iou" in rows[-1]:
        titles["mean_iou"] = "mean IoU, held out"
    figure = Figure(figsize=(4 * len(titles), 3.4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axes, (name, title) in zip(figure.subplots(1, len(titles)), titles.items(), strict=True):
        axes.plot(epochs, [row.get(name, math.nan) for row in rows], marker="." if len(rows) < 60 else "")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def plot_precision_recall(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], path: Path
) -> None:
    """Plot precision over recall as a PNG, one line per name.

    Args:
        curves: Precision and recall at the thresholds 0 to 255, averaged over a set, each (256,).
        path: The PNG to write.
    """
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, (precision, recall) in curves.items():
        axes.plot(recall, precision, label=name)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)

"""Held out: judges a network on held-out pictures, at its own size."""

from types import EllipsisType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_export.batches import normalised
from model_export.class_metrics import class_figures, confusion_matrix
from model_export.datasets import Dataset
from model_export.label_maps import VOID
from model_export.metrics import max_f_of_means, precision_and_recall
from model_export.recipe import Recipe
from model_export.samples import FOREGROUND_THRESHOLD
from model_export.serving_graph import saliency_of


def judge(network: nn.Module, held_out: Dataset, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Return the figures of a network by name.

    Pictures without a subject count in MAE only: their recall is not defined. Pixels that are void count in
    nothing.

    Returns:
        ``mae`` and ``max_f`` (by the papers' protocol) of the saliency; with classes also the figures of
        ``ClassFigures.of_all_classes``.
    """
    was_training = network.training
    network.eval()
    errors, curves, count = [], [], len(recipe.classes)
    confusion = np.zeros((count, count), np.int64)
    for start in range(0, len(held_out), recipe.batch):
        batch = slice(start, start + recipe.batch)
        pictures = torch.from_numpy(held_out.pictures[batch]).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode(), autocast(recipe, device):
            logits = network(normalised(pictures))[0].float()
        maps = saliency_of(logits, recipe.foreground_labels).cpu().numpy()
        for number, saliency in enumerate(maps, start):
            known, mask = known_pixels(held_out, number), held_out.masks[number]
            errors.append(float(np.abs(saliency[known].astype(np.float64) - mask[known] / 255).mean()))
            truth = mask[known] >= FOREGROUND_THRESHOLD
            if truth.any():
                curves.append(precision_and_recall(saliency[known], truth))
        if held_out.labels is not None:
            predicted = logits.argmax(1).to(torch.uint8).cpu().numpy()
            confusion += confusion_matrix(predicted, held_out.labels[batch], count=count)
    network.train(was_training)
    figures = {"mae": float(np.mean(errors)), "max_f": max_f_of_means(curves)}
    return figures | (class_figures(confusion).of_all_classes() if count else {})


def mae_of_empty_masks(held_out: Dataset) -> float:
    """Return the MAE of an empty mask, which a network must fall below to be of use."""
    masks = (held_out.masks[number][known_pixels(held_out, number)] for number in range(len(held_out)))
    return float(np.mean([mask.mean() for mask in masks]) / 255)


def known_pixels(held_out: Dataset, number: int) -> NDArray[np.bool_] | EllipsisType:
    """Return an index of the pixels of a picture that are not void: (S, S) bool, or all."""
    return ... if held_out.labels is None else held_out.labels[number] != VOID


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Return the context in which a network runs in the recipe's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")

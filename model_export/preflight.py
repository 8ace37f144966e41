"""Preflight: compares a recipe with its data before anything is decoded, and says what to do if they differ.

Only the headers of the files are read, so a mistake is reported in seconds, not after minutes of decoding.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from app.weights.fetch import PUBLISHED
from model_export.architectures import ARCHITECTURES, OptionInvalid
from model_export.checkpoint import TrainingRun
from model_export.class_losses import CLASS_LOSSES
from model_export.class_networks import CLASS_NETWORKS, build_for_recipe
from model_export.datasets import SourceSet, upright_size
from model_export.errors import CommandFailed
from model_export.label_maps import VOID, require_known
from model_export.recipe import Recipe
from model_export.samples import Sample, SamplesInvalid


class RecipeUnfit(CommandFailed):
    """A recipe cannot be trained on these data, or not at all; the message says what to change."""


def check_recipe(recipe: Recipe) -> None:
    """Check what a recipe names.

    Raises:
        RecipeUnfit: There is no such architecture or option, no published weights of it, or no such file, or
            its classes do not fit its other fields.
    """
    if recipe.architecture not in ARCHITECTURES:
        raise RecipeUnfit(
            f"There is no architecture {recipe.architecture}; the command `architectures` lists them."
        )
    if recipe.weights == "published" and recipe.architecture not in PUBLISHED:
        raise RecipeUnfit(
            f"There are no published weights of {recipe.architecture}, only of "
            f"{', '.join(sorted(PUBLISHED))}. Train it from fresh weights: --set weights=fresh"
        )
    check_classes(recipe)
    if recipe.weights_file is not None and not recipe.weights_file.is_file():
        raise RecipeUnfit(f"There is no file {recipe.weights_file}. Name another: --set weights=FILE")
    try:
        with torch.device("meta"):
            network = build_for_recipe(recipe)
    except OptionInvalid as error:
        raise RecipeUnfit(f"{error} Change it: --set network.NAME=VALUE") from error
    if recipe.batch == 1 and recipe.norms == "train":
        _check_single_picture(network, min(recipe.size_px, *recipe.sizes_px, recipe.whole_px))


def _check_single_picture(network: nn.Module, size_px: int) -> None:
    """Check that no normalisation gets a single value per channel, by the shapes alone."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return
    try:
        network.train()(torch.empty(1, 3, size_px, size_px, device="meta"))
    except ValueError as error:
        raise RecipeUnfit(
            "This network normalises by the batch, and at this size a batch of one picture has one value per "
            "channel only. Enlarge it: --set batch=2"
        ) from error


def check_classes(recipe: Recipe) -> None:
    """Check that a recipe with classes can learn them, and that one without classes does not name any.

    Raises:
        RecipeUnfit: It cannot; the message says what to change.
    """
    problem = _problem_of_classes(recipe) if recipe.classes else _problem_without_classes(recipe)
    if problem:
        raise RecipeUnfit(problem)


def _problem_without_classes(recipe: Recipe) -> str:
    if recipe.loss in CLASS_LOSSES:
        return (
            f"{recipe.loss} is a loss of several classes, and the recipe names none: "
            """classes = ["background", "…"]"""
        )
    if "classes" in recipe.network:
        return (
            'The recipe names no classes, but sets network.classes; name them: classes = ["background", "…"]'
        )
    if recipe.foreground_classes or recipe.class_weights != "equal" or recipe.unknown_classes != "refuse":
        return (
            "The recipe has foreground_classes, class_weights or unknown_classes, but no classes to which "
            "they refer."
        )
    return ""


def _problem_of_classes(recipe: Recipe) -> str:
    classes, foreground = recipe.classes, recipe.foreground_classes
    unknown = [name for name in foreground if name not in classes]
    if len(set(classes)) < len(classes) or not 2 <= len(classes) <= VOID:
        return f"A recipe has 2 to {VOID} different classes, the background being one; this one: {classes}."
    if unknown:
        return f"The foreground class {unknown[0]} is not among the classes: {', '.join(classes)}."
    if len(set(foreground)) < len(foreground) or not 0 < len(foreground) < len(classes):
        return (
            "foreground_classes must name some of the classes once each, but not all: their probabilities "
            f"are summed to the saliency. The classes are: {', '.join(classes)}."
        )
    if recipe.architecture not in CLASS_NETWORKS:
        return (
            f"{recipe.architecture} has one output only; networks for several classes are "
            f"{', '.join(CLASS_NETWORKS)}."
        )
    if "classes" in recipe.network:
        return "network.classes is the number of the recipe's classes; remove it."
    return _problem_of_loss(recipe)


def _problem_of_loss(recipe: Recipe) -> str:
    weights = recipe.class_weights
    if recipe.loss not in CLASS_LOSSES:
        return (
            f"The loss {recipe.loss} is for masks; for classes, --set loss= one of: {', '.join(CLASS_LOSSES)}"
        )
    if recipe.teacher_trust:
        return "A teacher's maps have one foreground and no classes: --set teacher_trust=0"
    if recipe.augmentation.swap_background:
        return "Backgrounds are swapped by masks, not by classes: --set augmentation.swap_background=0"
    if isinstance(weights, tuple) and len(weights) != len(recipe.classes):
        return f"There are {len(recipe.classes)} classes, and {len(weights)} class_weights."
    return ""


def check_sources(run: TrainingRun, sources: SourceSet, console: Console) -> Recipe:
    """Check a run's recipe and splits against the files of its data.

    Returns:
        The recipe to train: without a teacher's share in the loss if the data have no teacher maps.

    Raises:
        SamplesInvalid: A split names other pictures or is too small, or a mask differs in size.
        MaskInvalid: Annotations have names that no class has.
    """
    recipe = run.recipe
    for names in (run.learned, run.held_out):
        missing = [name for name in names if name not in sources.samples]
        if missing:
            raise SamplesInvalid(
                f"The split names {len(missing)} pictures that are not in the data, such as {missing[0]}. "
                "Splits have one name per line, without folder and suffix."
            )
    if len(run.learned) < 2 or not run.held_out:
        raise SamplesInvalid(
            f"{len(run.learned)} pictures to learn from and {len(run.held_out)} held out are too few: two "
            "and one are needed."
        )
    for name in (*run.learned, *run.held_out):
        _check_size(sources.samples[name])
    if recipe.classes:
        used = [sources.samples[name] for name in (*run.learned, *run.held_out)]
        require_classes(recipe, sources.folder, used, console)
    if recipe.teacher_trust and not sources.teacher:
        console.print(
            f"{sources.folder} has no teacher maps: the network learns from the masks alone. To make them: "
            f"python -m model_export teach u2net --data {sources.folder}"
        )
        return recipe.model_copy(update={"teacher_trust": 0.0})
    return recipe


def require_classes(recipe: Recipe, folder: Path, samples: Iterable[Sample], console: Console) -> None:
    """Check that the truth of each picture can be a label map, and name the regions that are left out.

    Raises:
        SamplesInvalid: It is a matte.
        MaskInvalid: Annotations have names that no class has.
    """
    samples = tuple(samples)
    if any(sample.is_matte for sample in samples):
        raise SamplesInvalid(
            f"{folder} has mattes; classes need label maps or annotations: images/ with masks/, whose values "
            "or indices are the labels, or JSON files of COCO or labelme."
        )
    annotations = [sample.annotation for sample in samples if sample.annotation is not None]
    others = require_known(annotations, recipe.classes, unknown=recipe.unknown_classes)
    if others:
        treatment = "left out" if recipe.unknown_classes == "background" else recipe.unknown_classes
        console.print(f"annotations of other names are {treatment}: {others}", markup=False)


def _check_size(sample: Sample) -> None:
    """Compare the sizes of a picture and its truth as their headers have them."""
    picture = upright_size(sample.picture)
    if sample.annotation is not None:
        truth = (sample.annotation.height, sample.annotation.width)
    else:
        truth = upright_size(sample.truth)
    if picture != truth:
        raise SamplesInvalid(
            f"{sample.name}: the picture is {picture[1]} × {picture[0]} px, its mask {truth[1]} × {truth[0]} "
            "px. Make the mask from the upright picture at its full size."
        )

"""Preflight: compares a recipe with its data before anything is decoded, and says what to do if they differ.

Only the headers of the files are read, so a mistake is reported in seconds, not after minutes of decoding.
"""

import torch
from rich.console import Console

from app.weights.fetch import PUBLISHED
from model_export.architectures import ARCHITECTURES, OptionInvalid, build_network
from model_export.checkpoint import TrainingRun
from model_export.datasets import SourceSet, upright_size
from model_export.errors import CommandFailed
from model_export.recipe import Recipe
from model_export.samples import Sample, SamplesInvalid


class RecipeUnfit(CommandFailed):
    """A recipe cannot be trained on these data, or not at all; the message says what to change."""


def check_recipe(recipe: Recipe) -> None:
    """Check what a recipe names.

    Raises:
        RecipeUnfit: There is no such architecture or option, no published weights of it, or no such file.
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

    if recipe.weights_file is not None and not recipe.weights_file.is_file():
        raise RecipeUnfit(f"There is no file {recipe.weights_file}. Name another: --set weights=FILE")
    try:
        with torch.device("meta"):
            build_network(recipe.architecture, recipe.network)
    except OptionInvalid as error:
        raise RecipeUnfit(f"{error} Change it: --set network.NAME=VALUE") from error


def check_sources(run: TrainingRun, sources: SourceSet, console: Console) -> Recipe:
    """Check a run's recipe and splits against the files of its data.

    Returns:
        The recipe to train: without a teacher's share in the loss if the data have no teacher maps.

    Raises:
        SamplesInvalid: A split names other pictures or is too small, or a mask differs in size.
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
    if recipe.teacher_trust and not sources.teacher:
        console.print(
            f"{sources.folder} has no teacher maps: the network learns from the masks alone. To make them: "
            f"python -m model_export teach u2net --data {sources.folder}"
        )
        return recipe.model_copy(update={"teacher_trust": 0.0})
    return recipe


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

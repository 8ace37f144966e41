"""Recipe: the settings of a training run, read from a TOML file.

A file in ``model_export/recipes/`` is named after its architecture and has two tables: ``[paper]``, the
settings of the paper, and ``[ours]``. Missing values have the defaults given here.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_export.errors import CommandFailed
from model_export.recipes import RECIPES
from model_export.transforms import Augmentation


class RecipeInvalid(CommandFailed):
    """A recipe cannot be read, or has an invalid value."""


Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Moves(_Table):
    """Limits of the augmentation; see ``transforms.Augmentation``."""

    flip_horizontally: bool = False
    flip_vertically: bool = False
    scale: Range = (1.0, 1.0)
    shift: float = Field(0.0, ge=0, le=1)
    rotate_degrees: float = Field(0.0, ge=0, le=180)
    elastic_px: float = Field(0.0, ge=0)
    colour: float = Field(0.0, ge=0, le=1)

    def augmentation(self) -> Augmentation:
        """Return these limits in the form that ``augment`` takes."""
        return Augmentation(**self.model_dump())


class Recipe(_Table):
    """Everything that a training run depends on except its data."""

    architecture: str
    loss: Literal[
        "deep_supervised_bce",
        "border_weighted_bce",
        "bce_dice",
        "bce_iou",
        "stdc",
        "stdc_dice",
        "summed_cross_entropy",
    ] = Field(description="A function in losses.py.")
    teacher_trust: float = Field(0.0, ge=0, le=1, description="The teacher's share of the loss.")
    weights: Literal["fresh", "published", "encoder"] = Field(
        "fresh", description="The initial weights; encoder: published ones for the encoder, else fresh."
    )
    norms: Literal["train", "freeze", "re-estimate"] = Field(
        "train", description="How to treat normalisations, which are folded into published weights."
    )
    initialise: Literal["default", "xavier", "he"] = Field(
        "default", description="Initialisation of fresh convolutions."
    )
    size_px: int = Field(320, ge=32, le=2048)
    sizes_px: tuple[int, ...] = Field(
        (),
        description="Smaller sizes to begin with, each for an equal share of the epochs, before size_px.",
    )
    batch: int = Field(12, ge=1)
    epochs: int = Field(100, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(0.0, ge=0, description="For kernels only, not for biases and normalisations.")
    head_rate: float = Field(1.0, gt=0, description="Learning rate of the heads, relative to the backbone.")
    schedule: Literal["constant", "poly", "cosine"] = "constant"
    warm_up_steps: int = Field(
        0, ge=0, description="Iterations of warm-up, exponential from 1/1000 of the rate."
    )
    largest_gradient: float = Field(
        0.0, ge=0, description="Norm that gradients are clipped to; 0 for no clipping."
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the moving average of weights; 0 for no average."
    )
    patience: int = Field(
        0, ge=0, description="Stop after this many epochs without a better MAE; 0 to disable."
    )
    held_out: int = Field(100, ge=1, description="Number of held-out pictures, if no split is given.")
    precision: Literal["float32", "bfloat16", "fastest"] = Field(
        "float32", description="Precision of multiplications; fastest is the faster one on this machine."
    )
    compile: bool = Field(default=False, description="Let torch compile the network; only on a GPU.")
    seed: int = 2020
    augmentation: Moves = Moves()


def read_recipe(name_or_path: str, *, table: str = "ours") -> Recipe:
    """Read a recipe by its architecture's name, or from a file.

    Args:
        name_or_path: Such as ``stdc1``, or the path of a TOML file with the same tables.
        table: ``ours`` or ``paper``.

    Raises:
        RecipeInvalid: There is no such recipe, or a value is invalid; the message names it.
    """
    path = RECIPES / f"{name_or_path}.toml"
    path = path if path.is_file() else Path(name_or_path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.toml")))
        raise RecipeInvalid(f"There is no recipe {name_or_path}. There are: {known}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"{path} is not TOML: {error}.") from error
    if not isinstance(tables.get(table), dict):
        raise RecipeInvalid(f"{path} has no table [{table}].")
    return parse_recipe({"architecture": path.stem, **tables[table]}, source=f"{path} [{table}]")


def parse_recipe(fields: dict[str, object], *, source: str) -> Recipe:
    """Validate the fields of a recipe.

    Raises:
        RecipeInvalid: A field is unknown or invalid; the message names ``source`` and the field.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise RecipeInvalid(f"{source}: {field}: {first['msg']}.") from error

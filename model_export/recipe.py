"""Recipe: a TOML file says how a network is trained, its paper's way and ours.

A file in ``model_export/recipes/`` is named after its architecture and has two tables, ``[paper]`` and
``[ours]``. Whatever a table leaves out has the value given here.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_export.errors import CommandFailed
from model_export.recipes import RECIPES
from model_export.transforms import Augmentation


class RecipeInvalid(CommandFailed):
    """A recipe cannot be read, or says something that cannot be."""


Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Moves(_Table):
    """How far pictures are changed; see ``transforms.Augmentation``."""

    flip_horizontally: bool = False
    flip_vertically: bool = False
    scale: Range = (1.0, 1.0)
    shift: float = Field(0.0, ge=0, le=1)
    rotate_degrees: float = Field(0.0, ge=0, le=180)
    elastic_px: float = Field(0.0, ge=0)
    colour: float = Field(0.0, ge=0, le=1)

    def augmentation(self) -> Augmentation:
        """Return the same for ``augment``."""
        return Augmentation(**self.model_dump())


class Recipe(_Table):
    """Everything that a run depends on beside its data."""

    architecture: str
    loss: Literal[
        "deep_supervised_bce", "border_weighted_bce", "bce_dice", "stdc", "stdc_dice", "summed_cross_entropy"
    ] = Field(description="One of those in losses.py.")
    teacher_trust: float = Field(0.0, ge=0, le=1, description="The teacher's share of the loss.")
    weights: Literal["fresh", "published"] = Field("fresh", description="What the network begins with.")
    norms: Literal["train", "freeze", "re-estimate"] = Field(
        "train", description="What becomes of normalisations that published weights have folded away."
    )
    initialise: Literal["default", "xavier", "he"] = Field("default", description="Of fresh convolutions.")
    size_px: int = Field(320, ge=32, le=2048)
    sizes_px: tuple[int, ...] = Field(
        (),
        description="Smaller sizes to begin with, each for an equal part of the epochs; size_px is the last.",
    )
    batch: int = Field(12, ge=1)
    epochs: int = Field(100, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD.")
    weight_decay: float = Field(0.0, ge=0, description="Of kernels; never of biases and normalisations.")
    head_rate: float = Field(1.0, gt=0, description="How much faster the heads learn than the backbone.")
    schedule: Literal["constant", "poly", "cosine"] = "constant"
    warm_up_steps: int = Field(0, ge=0, description="Exponential, from a thousandth of the rate.")
    largest_gradient: float = Field(0.0, ge=0, description="Norm that gradients are cut to; 0 leaves them.")
    ema: float = Field(0.0, ge=0, lt=1, description="Decay of the moving average of weights; 0 keeps none.")
    patience: int = Field(0, ge=0, description="Epochs without a better MAE before the end; 0 waits for all.")
    held_out: int = Field(100, ge=1, description="Pictures to judge by, if no split says which.")
    precision: Literal["float32", "bfloat16", "fastest"] = Field(
        "float32", description="What to multiply in; fastest is whichever of both is faster on the machine."
    )
    compile: bool = Field(default=False, description="Let torch compile the network; on a GPU alone.")
    seed: int = 2020
    augmentation: Moves = Moves()


def read_recipe(name_or_path: str, *, table: str = "ours") -> Recipe:
    """Read a recipe by its architecture's name, or from a file.

    Args:
        name_or_path: Such as ``stdc1``, or the path of a TOML file with the same tables.
        table: ``ours`` or ``paper``.

    Raises:
        RecipeInvalid: There is no such recipe, or a value of it is wrong; the message names it.
    """
    path = RECIPES / f"{name_or_path}.toml"
    path = path if path.is_file() else Path(name_or_path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.toml")))
        raise RecipeInvalid(f"There is no recipe {name_or_path}. There are: {known}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"{path} is not TOML: {error}.") from error
    if not isinstance(document.get(table), dict):
        raise RecipeInvalid(f"{path} has no table [{table}].")
    return parse_recipe({"architecture": path.stem, **document[table]}, said_by=f"{path} [{table}]")


def parse_recipe(members: dict[str, object], *, said_by: str) -> Recipe:
    """Check the members of a recipe.

    Raises:
        RecipeInvalid: One is unknown or wrong; the message says who said so, and which.
    """
    try:
        return Recipe.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeInvalid(f"{said_by}: {place}: {first['msg']}.") from error

"""Recipe: the settings of a training run, read from a TOML file.

A file in ``model_export/recipes/`` is named after its architecture and has two tables: ``[paper]``, the
settings of the paper, and ``[ours]``. A table with ``inherit = "NAME"`` starts from the table of the same
name in recipe NAME, ``inherit = "NAME:TABLE"`` from another one; ``architecture`` is not inherited. Missing
values have the defaults given here.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from model_export.errors import CommandFailed
from model_export.label_maps import Unknown
from model_export.recipes import RECIPES
from model_export.transforms import Augmentation


class RecipeInvalid(CommandFailed):
    """A recipe cannot be read, or has an invalid value."""


WEIGHTS_SUFFIXES = ("safetensors", "pth", "pt")
Fields = dict[str, Any]  # Any: parsed TOML, which Recipe validates
ClassWeights = (
    Literal["equal", "inverse_frequency", "median_frequency"] | tuple[Annotated[float, Field(gt=0)], ...]
)
Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


T = TypeVar("T", bound=_Table)


class Moves(_Table):
    """Limits of the augmentation; see ``transforms.Augmentation``."""

    flip_horizontally: bool = False
    flip_vertically: bool = False
    scale: Range = (1.0, 1.0)
    shift: float = Field(0.0, ge=0, le=1)
    rotate_degrees: float = Field(0.0, ge=0, le=180)
    elastic_px: float = Field(0.0, ge=0)
    colour: float = Field(0.0, ge=0, le=1)
    blur_px: float = Field(0.0, ge=0, le=32)
    noise: float = Field(0.0, ge=0, le=1)
    jpeg_quality: int = Field(100, ge=1, le=100)
    swap_background: float = Field(0.0, ge=0, le=1)

    def augmentation(self) -> Augmentation:
        """Return these limits in the form that ``augment`` takes."""
        return Augmentation(**self.model_dump())


class Recipe(_Table):
    """Everything that a training run depends on except its data."""

    architecture: str
    network: dict[str, StrictBool | StrictInt | StrictFloat] = Field(
        {}, description="Options of the architecture: depth, width, ..."
    )
    loss: Literal[
        "deep_supervised_bce",
        "border_weighted_bce",
        "bce_dice",
        "bce_iou",
        "stdc",
        "stdc_dice",
        "summed_cross_entropy",
        "class_cross_entropy",
        "class_cross_entropy_dice",
        "class_focal",
    ] = Field(description="A function in losses.py, or with classes in class_losses.py.")
    classes: tuple[str, ...] = Field(
        (), description="The classes in the order of their labels in label maps; none learns masks."
    )
    foreground_classes: tuple[str, ...] = Field(
        (), description="The classes whose probabilities are summed to the served saliency."
    )
    unknown_classes: Unknown = Field(
        "refuse",
        description="What annotations of other names are: refused, left out, or neither learned nor judged.",
    )
    class_weights: ClassWeights = Field(
        "equal",
        description="Weights of the classes in the loss: a function in class_losses.py, or a number each.",
    )
    teacher_trust: float = Field(0.0, ge=0, le=1, description="The teacher's share of the loss.")
    weights: str = Field(
        "fresh",
        pattern=rf"^(fresh|published|encoder|.+\.({'|'.join(WEIGHTS_SUFFIXES)}))$",
        description="The initial weights: fresh, published, encoder (published ones for the encoder, else "
        "fresh), or a file, of which all tensors that fit are used.",
    )
    norms: Literal["train", "freeze", "re-estimate"] = Field(
        "train", description="How to treat normalisations, which are folded into published weights."
    )
    initialise: Literal["default", "xavier", "he"] = Field(
        "default", description="Initialisation of fresh convolutions."
    )
    size_px: int = Field(320, ge=32, le=2048)
    picture_px: int = Field(
        0,
        ge=0,
        le=4096,
        description="Side of whole pictures, as judged and served, if size_px is that of crops of them; "
        "scale is then the ratio of the two. 0: size_px.",
    )
    sizes_px: tuple[Annotated[int, Field(ge=32, le=2048)], ...] = Field(
        (),
        description="Smaller sizes to begin with, each for an equal share of the epochs, before size_px.",
    )
    batch: int = Field(12, ge=1)
    epochs: int = Field(100, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(0.0, ge=0, description="For kernels only, not for biases and normalisations.")
    bias_rate: float = Field(1.0, gt=0, description="Learning rate of biases, relative to kernels.")
    head_rate: float = Field(1.0, gt=0, description="Learning rate of the heads, relative to the backbone.")
    schedule: Literal["constant", "poly", "cosine"] = "constant"
    warm_up_steps: int = Field(
        0,
        ge=0,
        description="Iterations of warm-up, exponential from 1/1000 of the rate; at most a tenth of the run.",
    )
    minutes: float = Field(
        0.0,
        ge=0,
        description="Time of the whole run: the rate falls to its end in it, and the run stops; 0 for none.",
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
    held_out: int = Field(
        100,
        ge=1,
        description="Held-out pictures, if no split is given; never more than a fifth of the pictures.",
    )
    precision: Literal["float32", "bfloat16", "fastest"] = Field(
        "float32", description="Precision of multiplications; fastest is the faster one on this machine."
    )
    compile: bool = Field(default=False, description="Let torch compile the network; only on a GPU.")
    seed: int = Field(2020, ge=0)
    augmentation: Moves = Moves()

    @property
    def foreground_labels(self) -> tuple[int, ...]:
        """The labels of ``foreground_classes``; none without classes."""
        return tuple(self.classes.index(name) for name in self.foreground_classes)

    @property
    def whole_px(self) -> int:
        """The side of the whole pictures: of those in memory, and of those judged and served."""
        return self.picture_px or self.size_px

    @property
    def weights_file(self) -> Path | None:
        """The file of the initial weights, if ``weights`` names one."""
        path = Path(self.weights)
        return path if path.suffix.removeprefix(".") in WEIGHTS_SUFFIXES else None


class Pretraining(_Table):
    """The settings of training a classifier, the table ``[pretrain]``."""

    size_px: int = Field(224, ge=32, le=2048)
    batch: int = Field(64, ge=2)
    epochs: int = Field(300, ge=1)
    warm_up_epochs: int = Field(5, ge=0, description="The rate rises in a line, from warm_up_from.")
    warm_up_from: float = Field(1e-3, gt=0)
    learning_rate: float = Field(0.1, gt=0, description="The highest rate; it falls along half a cosine.")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    seed: int = Field(2020, ge=0)


def read_pretraining(name_or_path: str) -> Pretraining:
    """Read the table ``[pretrain]`` of a recipe.

    Raises:
        RecipeInvalid: There is no such table, or a value is invalid.
    """
    path = _path_of(name_or_path)
    fields = _read_table(path, "pretrain", inherited_by=())
    return parse_pretraining(fields, source=f"{path} [pretrain]")


def parse_pretraining(fields: Fields, *, source: str) -> Pretraining:
    """Validate the fields of a table ``[pretrain]``.

    Raises:
        RecipeInvalid: A field is unknown or invalid; the message names ``source`` and the field.
    """
    return _validated(Pretraining, fields, source)


def read_recipe(name_or_path: str, *, table: str = "ours") -> Recipe:
    """Read a recipe by its architecture's name, or from a file.

    Args:
        name_or_path: Such as ``stdc1``, or the path of a TOML file with the same tables.
        table: ``ours`` or ``paper``.

    Raises:
        RecipeInvalid: There is no such recipe, or a value is invalid; the message names it.
    """
    path = _path_of(name_or_path)
    fields = _read_table(path, table, inherited_by=())
    return parse_recipe({"architecture": path.stem, **fields}, source=f"{path} [{table}]")


def _path_of(name_or_path: str) -> Path:
    path = RECIPES / f"{name_or_path}.toml"
    return path if path.is_file() else Path(name_or_path)


def _read_table(path: Path, table: str, *, inherited_by: tuple[tuple[Path, str], ...]) -> Fields:
    """Return the fields of a table, including those that it inherits.

    Raises:
        RecipeInvalid: There is no such file or table, or tables inherit from each other.
    """
    if (path, table) in inherited_by:
        raise RecipeInvalid(f"{path} [{table}] inherits from itself.")
    tables = _tables(path)
    fields = dict(tables.get(table) or {})
    if not fields:
        raise RecipeInvalid(f"{path} has no table [{table}], only: {', '.join(tables) or 'none'}.")
    parent = fields.pop("inherit", None)
    if parent is None:
        return fields
    if not isinstance(parent, str):
        raise RecipeInvalid(f"{path} [{table}]: inherit: must be the name of a recipe.")
    name, _, parent_table = parent.partition(":")
    inherited = _read_table(
        _path_of(name), parent_table or table, inherited_by=(*inherited_by, (path, table))
    )
    inherited.pop("architecture", None)
    if isinstance(fields.get("augmentation"), dict):
        fields["augmentation"] = {**inherited.get("augmentation", {}), **fields["augmentation"]}
    return {**inherited, **fields}


def _tables(path: Path) -> Fields:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.toml")))
        raise RecipeInvalid(f"There is no recipe {path}. There are: {known}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"{path} is not TOML: {error}.") from error


def parse_recipe(fields: dict[str, object], *, source: str) -> Recipe:
    """Validate the fields of a recipe.

    Raises:
        RecipeInvalid: A field is unknown or invalid; the message names ``source`` and the field.
    """
    return _validated(Recipe, fields, source)


def _validated(table: type[T], fields: Mapping[str, object], source: str) -> T:
    try:
        return table.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise RecipeInvalid(f"{source}: {field}: {first['msg']}.") from error

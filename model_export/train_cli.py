"""Train CLI: the command lines of ``train``, ``finetune``, ``pretrain``, ``teach`` and ``architectures``.

Also what ``export`` takes for a training run.
"""

import argparse
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_export.recipes import RECIPES

if TYPE_CHECKING:
    from model_export.recipe import Recipe

RUNS_FOLDER = Path("runs")


def declare_training(sub: argparse.ArgumentParser, *, table: str) -> None:
    """Declare the arguments of ``train`` and ``finetune``, which differ in the recipe's table."""
    names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    sub.add_argument("name", metavar="NAME", help=f"a recipe: {names}, or a file like theirs")
    sub.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="pictures and masks, in any layout"
    )
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the training run (runs/NAME, runs/NAME-finetune)"
    )
    sub.add_argument("--recipe", default=table, metavar="TABLE", help=f"ours, paper or finetune ({table})")
    sub.add_argument(
        "--resume", action="store_true", help="resume the run in --out with its recipe, changed by --set"
    )
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change the recipe, in TOML: --set batch=4 --set 'augmentation.colour=0.1'; may be repeated",
    )
    sub.add_argument("--learn", type=Path, metavar="FILE", help="stems to learn from, one per line")
    sub.add_argument("--hold-out", type=Path, metavar="FILE", help="stems to judge by, one per line")
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    sub.add_argument("--threads", type=int, default=0, help="number of CPU threads; all if 0")
    sub.add_argument(
        "--minutes",
        type=float,
        help="time of the whole run; the rate falls to its end in it (--set minutes=)",
    )
    sub.add_argument(
        "--pause-after",
        type=float,
        default=math.inf,
        metavar="MINUTES",
        help="pause after the first epoch that ends later; --resume continues the same schedule",
    )


def declare_export_of_run(sub: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``export`` for a training run."""
    sub.add_argument("--checkpoint", type=Path, metavar="FILE", help="export a training run, as NAME")
    sub.add_argument("--authors", default="not said", help="the authors of the weights")
    sub.add_argument(
        "--license", default="not said; see the terms of the data", help="the licence of the weights"
    )
    sub.add_argument("--depth", type=int, help="for a U-Net++, the head to prune it to")
    sub.add_argument("--accurate", action="store_true", help="for a U-Net++, the mean of all heads")
    sub.add_argument("--size", type=int, metavar="PX", help="side of the input (that of the training)")
    sub.add_argument("--tile", type=int, metavar="PX", help="for unet_valid, side of the tiles, 4 + 16 k")


def declare_teaching(sub: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``teach``."""
    sub.add_argument("model", metavar="MODEL", help="an exported model")
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="pictures and masks")
    sub.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of models (models)")


def declare_pretraining(sub: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``pretrain``."""
    sub.add_argument("name", metavar="NAME", choices=("stdc1", "stdc2"), help="stdc1 or stdc2")
    sub.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="a folder with train/CLASS/ and val/CLASS/"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/NAME-pretrain)")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change the table [pretrain]: --set epochs=100; may be repeated",
    )
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def run_pretraining(args: argparse.Namespace) -> str:
    """Train a classifier, and return one line about the result."""
    from rich.console import Console

    from model_export.pretrain import BEST, pretrain
    from model_export.recipe import parse_pretraining, read_pretraining
    from model_export.train import device_of

    out = args.out or RUNS_FOLDER / f"{args.name}-pretrain"
    fields = _changed(read_pretraining(args.name).model_dump(), args.set)
    accuracy = pretrain(
        args.name,
        parse_pretraining(fields, source="--set"),
        args.data,
        out,
        device=device_of(args.device),
        console=Console(stderr=True, soft_wrap=True, highlight=False),
    )
    return f"{out / BEST}: accuracy {accuracy:.4f}"


def run_folder(args: argparse.Namespace) -> Path:
    """Return the folder of the training run: ``--out``, or one named after recipe and table."""
    if args.out is not None:
        return Path(args.out)
    suffix = "" if args.recipe == "ours" else f"-{args.recipe}"
    return RUNS_FOLDER / f"{Path(args.name).stem}{suffix}"


def recipe_from(args: argparse.Namespace) -> "Recipe":
    """Return the recipe with the changes from the command line; a resumed run starts from its own.

    Raises:
        RecipeInvalid: There is no such recipe, or a change is invalid.
        CheckpointInvalid: The run to resume cannot be read.
    """
    from model_export.recipe import parse_recipe, read_recipe

    recipe = read_recipe(args.name, table=args.recipe)
    changes = list(args.set) if args.minutes is None else [*args.set, f"minutes={args.minutes}"]
    last = run_folder(args) / "last.safetensors"
    if args.resume and last.is_file():
        recipe = _recipe_of_run(last, asked=_changed(recipe.model_dump(), changes))
    return parse_recipe(_changed(recipe.model_dump(), changes), source="--set") if changes else recipe


def run_training(args: argparse.Namespace) -> str:
    """Train, and return one line about the result."""
    from model_export.train import TrainOptions, train

    out = run_folder(args)
    options = TrainOptions(
        data=args.data,
        out=out,
        resume=args.resume,
        device=args.device,
        threads=args.threads,
        learned=args.learn,
        held_out=args.hold_out,
        pause_after_minutes=args.pause_after,
    )
    progress = train(recipe_from(args), options)
    mean_iou = progress.best_row().get("mean_iou")
    mae = f"MAE {progress.best_mae:.4f}"
    figures = mae if mean_iou is None else f"mean IoU {mean_iou:.4f}, {mae}"
    return (
        f"{out / 'best.safetensors'}: {figures} after epoch {progress.best_epoch} "
        f"of {progress.epoch}, {progress.seconds / 60:.1f} minutes"
    )


def architecture_table(size_px: int) -> list[str]:
    """Return the lines of a table of architectures with their parameters and multiply-accumulates."""
    import torch

    from model_export.architectures import ARCHITECTURES
    from model_export.cost import count_macs, count_parameters

    lines = [f"| architecture | parameters | GMACs at {size_px} × {size_px} |", "|---|---|---|"]
    for name, build in ARCHITECTURES.items():
        with torch.device("meta"):
            network = build()
        millions, giga = count_parameters(network) / 1e6, count_macs(network, size_px) / 1e9
        lines.append(f"| `{name}` | {millions:.2f} M | {giga:.2f} |")
    return lines


def _recipe_of_run(last: Path, *, asked: dict[str, Any]) -> "Recipe":
    """Return the recipe of the run to resume.

    Raises:
        CommandFailed: The run is of another architecture.
    """
    from model_export.checkpoint import read_training_run
    from model_export.errors import CommandFailed

    recipe = read_training_run(last).recipe
    if asked["architecture"] != recipe.architecture:
        raise CommandFailed(
            f"{last.parent} holds a run of {recipe.architecture}, not of {asked['architecture']}; name its "
            "recipe, or another folder: --out DIR"
        )
    return recipe


def _changed(fields: dict[str, Any], changes: list[str]) -> dict[str, Any]:  # Any: fields of a recipe
    from model_export.errors import CommandFailed

    for change in changes:
        name, _, value = change.partition("=")
        table_fields = fields
        *tables, last = name.strip().split(".")
        for table in tables:
            # An unknown table is added, so that the validation refuses it.
            table_fields = table_fields.setdefault(table, {})
            if not isinstance(table_fields, dict):
                raise CommandFailed(f"--set {change}: {table} is a single value; set it by --set {table}=…")
        table_fields[last] = _value(value)
    return fields


def _value(text: str) -> object:
    """Parse a value as TOML; return the text itself if it is not TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text

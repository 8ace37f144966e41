"""Train CLI: the command lines of ``train`` and ``architectures``."""

import argparse
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.recipes import RECIPES

if TYPE_CHECKING:
    from model_export.recipe import Recipe


def declare_training(sub: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``train``."""
    names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    sub.add_argument("name", metavar="NAME", help=f"a recipe: {names}, or a file like theirs")
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="pictures and masks")
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the training run")
    sub.add_argument("--recipe", default="ours", metavar="TABLE", help="ours, paper or finetune (ours)")
    sub.add_argument("--resume", action="store_true", help="resume the training run in --out")
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
        "--minutes", type=float, default=math.inf, help="stop after the first epoch that ends later"
    )


def recipe_from(args: argparse.Namespace) -> "Recipe":
    """Return the recipe with the changes from the command line.

    Raises:
        RecipeInvalid: There is no such recipe, or a change is invalid.
    """
    from model_export.recipe import parse_recipe, read_recipe

    recipe = read_recipe(args.name, table=args.recipe)
    fields = recipe.model_dump()
    for change in args.set:
        name, _, value = change.partition("=")
        table_fields = fields
        *tables, last = name.strip().split(".")
        for table in tables:
            table_fields = table_fields.get(table, {})
        table_fields[last] = _value(value)
    return parse_recipe(fields, source="--set") if args.set else recipe


def run_training(args: argparse.Namespace) -> str:
    """Train, and return one line about the result."""
    from model_export.train import TrainOptions, train

    options = TrainOptions(
        data=args.data,
        out=args.out,
        resume=args.resume,
        device=args.device,
        threads=args.threads,
        learned=args.learn,
        held_out=args.hold_out,
        minutes=args.minutes,
    )
    progress = train(recipe_from(args), options)
    return (
        f"{args.out / 'best.safetensors'}: MAE {progress.best_mae:.4f} after epoch {progress.best_epoch} "
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


def _value(text: str) -> object:
    """Parse a value as TOML; return the text itself if it is not TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text

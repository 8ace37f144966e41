"""Learning: the command lines of ``train`` and ``architectures``."""

import argparse
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.recipes import RECIPES

if TYPE_CHECKING:
    from model_export.recipe import Recipe


def declare_training(sub: argparse.ArgumentParser) -> None:
    """Declare what ``train`` is asked."""
    names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    sub.add_argument("name", metavar="NAME", help=f"a recipe: {names}, or a file like theirs")
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="pictures and masks")
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the run is kept")
    sub.add_argument("--recipe", default="ours", metavar="TABLE", help="ours, paper or finetune (ours)")
    sub.add_argument("--resume", action="store_true", help="go on with the run in --out")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change the recipe, in TOML: --set batch=4 --set 'augmentation.colour=0.1'; may be repeated",
    )
    sub.add_argument("--learn", type=Path, metavar="FILE", help="stems to learn from, one a line")
    sub.add_argument("--hold-out", type=Path, metavar="FILE", help="stems to judge by, one a line")
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    sub.add_argument("--threads", type=int, default=0, help="of the CPU; all if 0")
    sub.add_argument("--minutes", type=float, default=math.inf, help="end after the epoch that passes them")


def asked_recipe(asked: argparse.Namespace) -> "Recipe":
    """Return the recipe with what the command line changes.

    Raises:
        RecipeInvalid: There is no such recipe, or a change is wrong.
    """
    from model_export.recipe import parse_recipe, read_recipe

    recipe = read_recipe(asked.name, table=asked.recipe)
    members = recipe.model_dump()
    for change in asked.set:
        name, _, value = change.partition("=")
        place = members
        *tables, last = name.strip().split(".")
        for table in tables:
            place = place.get(table, {})
        place[last] = _value(value)
    return parse_recipe(members, said_by="--set") if asked.set else recipe


def run_training(asked: argparse.Namespace) -> str:
    """Train as asked, and return what came of it."""
    from model_export.train import TrainOptions, train

    orders = TrainOptions(
        data=asked.data,
        out=asked.out,
        resume=asked.resume,
        device=asked.device,
        threads=asked.threads,
        learned=asked.learn,
        held_out=asked.hold_out,
        minutes=asked.minutes,
    )
    progress = train(asked_recipe(asked), orders)
    return (
        f"{asked.out / 'best.safetensors'}: MAE {progress.best_mae:.4f} after epoch {progress.best_epoch} "
        f"of {progress.epoch}, {progress.seconds / 60:.1f} minutes"
    )


def table_of_architectures(size_px: int) -> list[str]:
    """Return the lines of a table: every architecture with its parameters and multiply-accumulates."""
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
    """Read a value as TOML, or as the text that it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text

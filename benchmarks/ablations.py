"""Ablations: what each choice in the recipe of ``lite`` costs and gains, in short training runs.

    .venv-export/bin/python -m benchmarks.ablations --data DUTS --judge ECSSD --out DIR
        [--pictures 1000] [--epochs 5] [--rows baseline …]

Each row changes one choice of the baseline: the recipe with pictures of 160 px throughout. All rows learn
from the same pictures for as many epochs, and are judged on other pictures at the size they learned. ``other
seed`` is the baseline with other random numbers: differences of this size mean nothing. A row that is there
already is not trained again; one that was interrupted continues.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.report import print_machine, print_table
from model_export.checkpoint import trained_network
from model_export.cost import count_parameters
from model_export.datasets import find_sources
from model_export.held_out import judge
from model_export.labelled import decode_for_recipe
from model_export.recipe import Recipe, parse_recipe, read_recipe
from model_export.splits import write_split
from model_export.train import TrainOptions, train
from model_export.trainer import BEST, LAST

HELD_OUT = 100
Change = Mapping[str, object]
BASELINE: Change = {"sizes_px": (), "size_px": 160, "minutes": 0.0}
PLAIN = {"flip_horizontally": True}
MOVES = {**PLAIN, "scale": (0.9, 1.45), "rotate_degrees": 7}
ROWS: Mapping[str, Change] = {
    "baseline": {},
    "other seed": {"seed": 1},
    "decoder of 32 channels": {"network": {"channels": 32}},
    "decoder of 96 channels": {"network": {"channels": 96}},
    "224 px": {"size_px": 224},
    "no teacher": {"teacher_trust": 0.0},
    "teacher's share 0.8": {"teacher_trust": 0.8},
    "cross-entropy without IoU": {"loss": "deep_supervised_bce"},
    "augmentation: mirrored only": {"augmentation": PLAIN},
    "augmentation: no colour": {"augmentation": MOVES},
    "augmentation: also blur, noise and JPEG": {
        "augmentation": {**MOVES, "colour": 0.25, "blur_px": 1.5, "noise": 0.03, "jpeg_quality": 40}
    },
    "encoder without ImageNet": {"weights": "fresh"},
    "one rate for encoder and decoder": {"head_rate": 1.0, "learning_rate": 1e-3},
}


def main() -> None:
    """Train all rows, and print a table with differences to the baseline."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True, help="pictures to learn from")
    parser.add_argument("--judge", type=Path, required=True, help="other pictures, with masks")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    args = parser.parse_args()
    print_machine()
    args.out.mkdir(parents=True, exist_ok=True)
    splits = _write_splits(args.data, args.out, args.pictures)
    rows: list[tuple[str, ...]] = []
    for name in args.rows:
        recipe = recipe_of(ROWS[name], args.epochs)
        folder = args.out / name.replace(" ", "-").replace(":", "").replace("'", "")
        options = TrainOptions(
            args.data, folder, resume=(folder / LAST).exists(), learned=splits[0], held_out=splits[1]
        )
        train(recipe, options, console=Console(stderr=True))
        rows.append((name, *_figures(folder, args.judge)))
    print_table(("change", "parameters", "minutes", "MAE held out", "maxF", "MAE judged", "maxF"), rows)


def recipe_of(change: Change, epochs: int) -> Recipe:
    """Return the recipe of a row."""
    base = read_recipe("lite").model_dump(exclude_unset=True)
    return parse_recipe({**base, **BASELINE, "epochs": epochs, **change}, source="this benchmark")


def _write_splits(data: Path, out: Path, count: int) -> tuple[Path, Path]:
    """Write the names of the pictures to learn from and of those held out, the same for all rows."""
    names = np.random.default_rng(0).permutation(find_sources(data).names).tolist()
    held_out, learned = out / "held_out.txt", out / "learned.txt"
    write_split(held_out, sorted(names[:HELD_OUT]))
    write_split(learned, sorted(names[HELD_OUT : HELD_OUT + count]))
    return learned, held_out


def _figures(folder: Path, judge_data: Path) -> tuple[str, ...]:
    network, run = trained_network(folder / BEST)
    judged_on = decode_for_recipe(find_sources(judge_data, part="TE"), run.recipe)
    judged = judge(network, judged_on, run.recipe, torch.device("cpu"))
    row = run.progress.best_row()
    figures = (row["mae"], row["max_f"], judged["mae"], judged["max_f"])
    minutes = f"{run.progress.seconds / 60:.1f}"
    return f"{count_parameters(network) / 1e6:.2f} M", minutes, *(f"{figure:.4f}" for figure in figures)


if __name__ == "__main__":
    main()

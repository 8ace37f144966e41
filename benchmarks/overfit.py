"""Overfit: can every architecture overfit eight pictures, and does the served graph equal the network?

    .venv-export/bin/python -m benchmarks.overfit --data DIR [--size 96] [--rounds 300] [NAME ...]

A network that cannot overfit them is broken. The pictures are the first eight by name of a folder in a layout
of ``model_export/samples.py``; FCN-32s, which is too coarse for these, uses eight pictures spread evenly over
the names. They are judged by the papers' maxF. Afterwards each network is exported, and the service's own
pipeline computes a mask and a cutout with it. This takes minutes per network on a CPU, and ten minutes to an
hour for FCN.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

from rich.console import Console

from app.options import CutoutOptions, MaskOptions
from benchmarks.report import Figure, print_figures, print_machine
from model_export.architectures import ARCHITECTURES
from model_export.checkpoint import read_training_run
from model_export.export_checkpoint import export_trained
from model_export.predictions import open_predictor
from model_export.recipe import Recipe, parse_recipe
from model_export.samples import find_samples
from model_export.train import TrainOptions, train
from model_export.trainer import BEST

PICTURES, REPEATS = 8, 10
"""The number of pictures, and how often each occurs in an epoch."""
MIN_MAX_F, MAX_PARITY = 0.97, 1e-4
LOSSES = {"u2net": "deep_supervised_bce", "u2netp": "deep_supervised_bce", "stdc1": "stdc", "stdc2": "stdc"}
LEARNING_RATES = {
    "unet": 3e-4,
    "unet_valid": 3e-4,
    "fcn8s_bn": 3e-4,
    "fcn8s": 1e-4,
    "fcn16s": 1e-4,
    "fcn32s": 1e-4,
}
# With He initialisation, networks without normalisation learn much faster; FCN does not learn without it.
WITHOUT_NORM = (
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "unet",
    "unet_valid",
    "unetpp",
    *(f"unetpp_l{depth}" for depth in (1, 2, 3)),
)
# Below, a valid U-Net has no output, and the scores of an FCN are too coarse (benchmarks/fcn_strides.py).
MIN_SIZE_PX = {"unet_valid": 112, "fcn8s": 224, "fcn8s_bn": 224, "fcn16s": 320, "fcn32s": 320}
SPREAD = ("fcn32s",)
"""The networks that use pictures spread over the folder."""
FIRST_PX = 96
"""The size for the first half of the rounds, for networks whose final size is more than twice as large."""
# More iterations in the same time, for networks without normalisation over the batch.
BATCH_SIZES = {"fcn8s": 2, "fcn16s": 2, "fcn32s": 2}
ROUNDS, ROUNDS_BY_NAME = 300, {"unetpp_l1": 600, "fcn8s": 120, "fcn16s": 240, "fcn32s": 240}


def main() -> None:
    """Print how well each network fits its pictures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", nargs="*", default=tuple(ARCHITECTURES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, help="how often each picture is used; by default 300 for most")
    args = parser.parse_args()
    print_machine()
    figures = []
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            size_px = max(args.size, MIN_SIZE_PX.get(name, 0))
            recipe = recipe_of(name, size_px, args.rounds or ROUNDS_BY_NAME.get(name, ROUNDS))
            data = lay_out_data(args.data, Path(folder), is_spread=name in SPREAD)
            figures += overfit(recipe, data, Path(folder))
        print(name, *(f"{figure.value:.6g}" for figure in figures[-2:]), flush=True)
    print_figures(figures)


def recipe_of(name: str, size_px: int, rounds: int) -> Recipe:
    """Return a recipe that overfits a few pictures fast."""
    fields = {
        "architecture": name,
        "loss": LOSSES.get(name, "bce_dice"),
        "optimizer": "adamw",
        "learning_rate": LEARNING_RATES.get(name, 1e-3),
        "largest_gradient": 1.0,
        "schedule": "cosine",
        "warm_up_steps": 10,
        "initialise": "he" if name in WITHOUT_NORM else "default",
        "size_px": size_px,
        "sizes_px": [FIRST_PX] if size_px > 2 * FIRST_PX else [],
        "batch": BATCH_SIZES.get(name, PICTURES),
        "epochs": max(1, rounds // REPEATS),
        "precision": "fastest",
    }
    return parse_recipe(fields, source="benchmarks/overfit.py")


def lay_out_data(data: Path, folder: Path, *, is_spread: bool) -> Path:
    """Link the pictures into a folder: once to judge by, and ten times to train on."""
    for name in ("T-Image", "T-Mask"):
        (folder / name).mkdir()
    prefixes_of_split = {"learned": [f"learned{time}" for time in range(REPEATS)], "judged": ["judged"]}
    samples = find_samples(data).samples
    step = max(1, len(samples) // PICTURES) if is_spread else 1
    for sample in samples[::step][:PICTURES]:
        for prefix in itertools.chain.from_iterable(prefixes_of_split.values()):
            (folder / "T-Image" / f"{prefix}-{sample.picture.name}").symlink_to(sample.picture.resolve())
            (folder / "T-Mask" / f"{prefix}-{sample.truth.name}").symlink_to(sample.truth.resolve())
    for split_name in prefixes_of_split:
        stems = [path.stem for path in sorted((folder / "T-Image").glob(f"{split_name}*"))]
        (folder / f"{split_name}.txt").write_text("\n".join(stems))
    return folder


def overfit(recipe: Recipe, data: Path, folder: Path) -> list[Figure]:
    """Train, export and serve one network."""
    options = TrainOptions(
        data, folder / "run", learned=folder / "learned.txt", held_out=folder / "judged.txt"
    )
    train(recipe, options, console=Console(quiet=True))
    best = read_training_run(folder / "run" / BEST).progress
    models = folder / "models"
    manifest = export_trained(
        "by-heart",
        folder / "run" / BEST,
        models,
        authors="none",
        license_name="none",
        show_progress=False,
    )
    upload = next((data / "T-Image").iterdir()).read_bytes()
    with open_predictor("by-heart", models) as predictor:
        results = [predictor.predict(upload, options) for options in (MaskOptions(), CutoutOptions())]
    if not all(result.grey.any() for result in results):
        raise SystemExit(f"{recipe.architecture} finds no subject")
    parity = manifest.quality["parity_served_float32_max_abs"]
    return [
        Figure(
            f"{recipe.architecture}, maxF",
            max(row["max_f"] for row in best.curves),
            MIN_MAX_F,
            "",
            is_floor=True,
        ),
        Figure(f"{recipe.architecture}, served from PyTorch", parity, MAX_PARITY),
    ]


if __name__ == "__main__":
    main()

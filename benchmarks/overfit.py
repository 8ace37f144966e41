"""Overfit: can every architecture learn eight pictures by heart, and is it then served as it was trained?

    .venv-export/bin/python -m benchmarks.overfit --data DIR [--size 96] [--rounds 300] [NAME ...]

A network that cannot is broken, whatever its papers say. The pictures are those of a folder in a layout of
``model_export/samples.py``, the first eight by name; FCN-32s, too coarse for these, takes eight evenly spread
over the names. They are judged by the papers' maxF. Afterwards each network is exported and answers as a mask
and as a cutout through the service's own journey. Minutes a network on a CPU, but for FCN, which takes from
ten up to an hour.
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
from model_export.predictions import open_journey
from model_export.recipe import Recipe, parse_recipe
from model_export.samples import find_samples
from model_export.train import BEST, TrainOptions, train

PICTURES, SHOWN = 8, 10
"""How many are learned, and how often an epoch shows each."""
AT_LEAST, PARITY = 0.97, 1e-4
LOSS_OF = {"u2net": "deep_supervised_bce", "u2netp": "deep_supervised_bce", "stdc1": "stdc", "stdc2": "stdc"}
RATE_OF = {"unet": 3e-4, "unet_valid": 3e-4, "fcn8s_bn": 3e-4, "fcn8s": 1e-4, "fcn16s": 1e-4, "fcn32s": 1e-4}
# What has no normalisation learns much sooner, and FCN at all, where its convolutions begin as He et al. say.
WITHOUT_NORM = (
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "unet",
    "unet_valid",
    "unetpp",
    *(f"unetpp_l{depth}" for depth in (1, 2, 3)),
)
# A valid U-Net shrinks to nothing below; the scores of an FCN are too coarse (benchmarks/fcn_strides.py).
SMALLEST_PX = {"unet_valid": 112, "fcn8s": 224, "fcn8s_bn": 224, "fcn16s": 320, "fcn32s": 320}
SPREAD = ("fcn32s",)
"""What learns pictures from all over the folder."""
FIRST_PX = 96
"""At which size a network learns for half its rounds, if it needs more than twice as much in the end."""
# More steps for the same time, where nothing is normalised over the batch.
BATCH_OF = {"fcn8s": 2, "fcn16s": 2, "fcn32s": 2}
ROUNDS, ROUNDS_OF = 300, {"unetpp_l1": 600, "fcn8s": 120, "fcn16s": 240, "fcn32s": 240}


def main() -> None:
    """Print how well each network knows its pictures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", nargs="*", default=tuple(ARCHITECTURES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, help="how often each is shown; 300, if not said otherwise")
    args = parser.parse_args()
    print_machine()
    figures = []
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            size_px = max(args.size, SMALLEST_PX.get(name, 0))
            recipe = recipe_of(name, size_px, args.rounds or ROUNDS_OF.get(name, ROUNDS))
            data = laid_out(args.data, Path(folder), is_spread=name in SPREAD)
            figures += learn_by_heart(recipe, data, Path(folder))
        print(name, *(f"{figure.value:.6g}" for figure in figures[-2:]), flush=True)
    print_figures(figures)


def recipe_of(name: str, size_px: int, rounds: int) -> Recipe:
    """Return a recipe that learns a few pictures fast."""
    members = {
        "architecture": name,
        "loss": LOSS_OF.get(name, "bce_dice"),
        "optimizer": "adamw",
        "learning_rate": RATE_OF.get(name, 1e-3),
        "largest_gradient": 1.0,
        "schedule": "cosine",
        "warm_up_steps": 10,
        "initialise": "he" if name in WITHOUT_NORM else "default",
        "size_px": size_px,
        "sizes_px": [FIRST_PX] if size_px > 2 * FIRST_PX else [],
        "batch": BATCH_OF.get(name, PICTURES),
        "epochs": max(1, rounds // SHOWN),
        "precision": "fastest",
    }
    return parse_recipe(members, source="benchmarks/overfit.py")


def laid_out(data: Path, folder: Path, *, is_spread: bool) -> Path:
    """Lay the pictures out once to be judged by, and ten times to be learned."""
    for name in ("T-Image", "T-Mask"):
        (folder / name).mkdir()
    roles = {"learned": [f"learned{time}" for time in range(SHOWN)], "judged": ["judged"]}
    samples = find_samples(data).samples
    every = max(1, len(samples) // PICTURES) if is_spread else 1
    for sample in samples[::every][:PICTURES]:
        for prefix in itertools.chain.from_iterable(roles.values()):
            (folder / "T-Image" / f"{prefix}-{sample.picture.name}").symlink_to(sample.picture.resolve())
            (folder / "T-Mask" / f"{prefix}-{sample.truth.name}").symlink_to(sample.truth.resolve())
    for role in roles:
        stems = [path.stem for path in sorted((folder / "T-Image").glob(f"{role}*"))]
        (folder / f"{role}.txt").write_text("\n".join(stems))
    return folder


def learn_by_heart(recipe: Recipe, data: Path, folder: Path) -> list[Figure]:
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
        authors="nobody",
        license_name="none",
        show_progress=False,
    )
    upload = next((data / "T-Image").iterdir()).read_bytes()
    with open_journey("by-heart", models) as journey:
        responses = [journey.response(upload, options) for options in (MaskOptions(), CutoutOptions())]
    if not all(response.grey.any() for response in responses):
        raise SystemExit(f"{recipe.architecture} answers nothing")
    parity = manifest.quality["parity_served_float32_max_abs"]
    return [
        Figure(
            f"{recipe.architecture}, maxF",
            max(row["max_f"] for row in best.curves),
            AT_LEAST,
            "",
            is_floor=True,
        ),
        Figure(f"{recipe.architecture}, served from PyTorch", parity, PARITY),
    ]


if __name__ == "__main__":
    main()

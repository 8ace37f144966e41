"""Fine-tuning: does the published u2netp improve with 200 pictures of an unfamiliar kind?

    .venv-export/bin/python -m benchmarks.finetuning --data DIR [--epochs 4] [--as-they-are]

Takes the first 240 pairs of a folder in a layout of ``model_export/samples.py``, and turns the pictures into
photographs in bad light: a tenth of the light under a warm lamp, the noise of a small sensor, strong JPEG
compression. The recipe ``[finetune]`` trains on 200 pictures; 40 are held out. Prints loss, MAE and maxF on
those before and after, and exports the new network to serve them. ``--as-they-are`` leaves the pictures
unchanged.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from torch import nn

from app.options import CutoutOptions, MaskOptions
from benchmarks.report import Figure, print_figures, print_machine
from model_export.batches import normalised
from model_export.checkpoint import trained_network
from model_export.datasets import Dataset, decode_sources, find_sources
from model_export.export_checkpoint import export_trained
from model_export.finetune import published_network
from model_export.held_out import judge
from model_export.losses import deep_supervised_bce
from model_export.predictions import open_predictor
from model_export.recipe import Recipe, read_recipe
from model_export.samples import find_samples, read_grey
from model_export.splits import read_split, write_split
from model_export.train import TrainOptions, train
from model_export.trainer import BEST

LEARNED, HELD_OUT = 200, 40
LIGHT, WARMTH, NOISE = 0.1, (1.0, 0.75, 0.45), 0.008
GAMMA, QUALITY = 2.2, 60
CPU = torch.device("cpu")


def main() -> None:
    """Print the effect of fine-tuning on held-out pictures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--as-they-are", action="store_true")
    args = parser.parse_args()
    print_machine()
    recipe = read_recipe("u2netp", table="finetune").model_copy(update={"epochs": args.epochs})
    with tempfile.TemporaryDirectory() as name:
        folder = lay_out_data(args.data, Path(name), darkens=not args.as_they_are)
        options = TrainOptions(
            folder, folder / "run", learned=folder / "learned", held_out=folder / "held_out"
        )
        sources = find_sources(folder).only(read_split(folder / "held_out"))
        held_out = decode_sources(sources, recipe.size_px)
        sample = torch.zeros(1, 3, recipe.size_px, recipe.size_px)
        before = score(published_network("u2netp", "freeze", sample), held_out, recipe)
        print("published:", before, flush=True)
        train(recipe, options, console=Console(stderr=True))
        after = score(trained_network(folder / "run" / BEST)[0], held_out, recipe)
        print("fine-tuned:", after, flush=True)
        served_mae = serve(folder)
    print_figures(
        [
            Figure("loss after / before, held out", after.loss / before.loss, 1),
            Figure("MAE after / before, held out", after.mae / before.mae, 1),
            Figure("maxF after, held out", after.max_f, before.max_f, is_floor=True),
            Figure("MAE as served after / MAE before, held out", served_mae / before.mae, 1),
        ]
    )


@dataclass(frozen=True)
class Score:
    """The figures of a network on held-out pictures."""

    loss: float
    mae: float
    max_f: float


def score(network: nn.Module, held_out: Dataset, recipe: Recipe) -> Score:
    """Judge a network at its input size."""
    losses = []
    with torch.inference_mode():
        for number in range(len(held_out)):
            batch = slice(number, number + 1)
            pictures = torch.from_numpy(held_out.pictures[batch]).permute(0, 3, 1, 2).float() / 255
            truth = torch.from_numpy(held_out.masks[batch]).unsqueeze(1).float() / 255
            losses.append(float(deep_supervised_bce(network.eval()(normalised(pictures)), truth)))
    judged = judge(network, held_out, recipe, CPU)
    return Score(float(np.mean(losses)), judged["mae"], judged["max_f"])


def serve(folder: Path) -> float:
    """Export the fine-tuned network, process held-out pictures for both endpoints, and return the MAE."""
    models = folder / "models"
    checkpoint = folder / "run" / BEST
    export_trained("mine", checkpoint, models, authors="none", license_name="none", show_progress=False)
    errors = []
    with open_predictor("mine", models) as predictor:
        for name in read_split(folder / "held_out"):
            upload = (folder / "T-Image" / f"{name}.jpg").read_bytes()
            mask = predictor.predict(upload, MaskOptions()).grey / 255.0
            alpha = predictor.predict(upload, CutoutOptions()).grey
            truth = read_grey(folder / "T-Mask" / f"{name}.png") / 255.0
            if alpha.shape != truth.shape:
                raise SystemExit(f"the cutout of {name} is {alpha.shape}, its mask {truth.shape}")
            errors.append(np.abs(mask - truth).mean())
    return float(np.mean(errors))


def lay_out_data(data: Path, folder: Path, *, darkens: bool) -> Path:
    """Write the pairs and their splits, the pictures darkened or unchanged."""
    for name in ("T-Image", "T-Mask"):
        (folder / name).mkdir()
    samples = find_samples(data).samples[: LEARNED + HELD_OUT]
    for number, sample in enumerate(samples):
        (folder / "T-Mask" / f"{sample.picture.stem}.png").symlink_to(sample.truth.resolve())
        target = folder / "T-Image" / f"{sample.picture.stem}.jpg"
        if darkens:
            with Image.open(sample.picture) as picture:
                rgb = darken(np.asarray(picture.convert("RGB")), seed=number)
            Image.fromarray(rgb).save(target, quality=QUALITY)
        else:
            target.symlink_to(sample.picture.resolve())
    write_split(folder / "learned", [sample.picture.stem for sample in samples[:LEARNED]])
    write_split(folder / "held_out", [sample.picture.stem for sample in samples[LEARNED:]])
    return folder


def darken(rgb: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) as a phone would photograph it at night, indoors."""
    rng = np.random.default_rng(seed)
    light = (rgb / 255.0) ** GAMMA * LIGHT * np.array(WARMTH)
    grain = rng.normal(0, NOISE, rgb.shape)
    lit = np.clip(light + grain, 0, 1) ** (1 / GAMMA)
    return np.rint(255 * lit).astype(np.uint8)


if __name__ == "__main__":
    main()

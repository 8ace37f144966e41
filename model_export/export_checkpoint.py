"""Export checkpoint: a checkpoint of a training run becomes a model to serve, like published weights."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from app.engine.models.manifest import Manifest, WeightsOrigin
from app.weights.fetch import PUBLISHED
from app.weights.own import OWN
from model_export.checkpoint import TrainingRun, trained_network
from model_export.class_metrics import CLASS_FIGURES
from model_export.errors import CommandFailed
from model_export.export import OUTPUT_MEANING, describe, export_served, put_in_place, step
from model_export.parity import measure_trained_parity
from model_export.pictures import synthetic_pictures
from model_export.recipe import Recipe
from model_export.served_shape import AS_TRAINED, ServedShape

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def export_trained(
    name: str,
    checkpoint: Path,
    models_dir: Path,
    *,
    authors: str,
    license_name: str,
    shape: ServedShape = AS_TRAINED,
    show_progress: bool = True,
) -> Manifest:
    """Export the network of a training run into ``models_dir/<name>``.

    Args:
        name: The name of the model; not the name of a published model.
        checkpoint: ``best.safetensors`` or ``last.safetensors`` of a training run.
        models_dir: The folder of models.
        authors: The people who trained it.
        license_name: The licence of the weights, which depends on the training data.
        shape: How the network is served, if not as it was trained.
        show_progress: Report each step on stderr.

    Returns:
        The manifest as written.

    Raises:
        CheckpointInvalid: The file is not a checkpoint.
        ParityFailed: The exported graph is not the trained network. Nothing was written.
        CommandFailed: The name is taken or invalid, or the network cannot be served in this shape.
    """
    console = Console(stderr=True, quiet=not show_progress, soft_wrap=True, highlight=False)
    _check_name(name)
    network, run = trained_network(checkpoint)
    network = shape.applied(network, run.recipe.architecture)
    size_px = shape.size_px or run.recipe.whole_px
    _warn_if_worse_than_empty(run, console)
    model_bytes, quality = export_and_compare(network, name, size_px, run.recipe, console)
    manifest = describe(
        network,
        model_bytes,
        name=name,
        architecture=_architecture(run.recipe) + shape.description,
        size_px=size_px,
        weights=_weights_origin(run, checkpoint, license_name=license_name, authors=authors),
        quality={**quality, **held_out_quality(run)},
        output=output_meaning(run.recipe),
    )
    manifest = replace(manifest, purpose=" and ".join(run.recipe.foreground_classes))
    put_in_place(manifest, model_bytes, models_dir)
    console.print(f"✓ {models_dir / name}: {len(model_bytes):,} bytes, sha256 {manifest.sha256}")
    return manifest


def _check_name(name: str) -> None:
    if name in {*PUBLISHED, *OWN} or MODEL_NAME.fullmatch(name) is None:
        raise CommandFailed(
            f"{name!r} is a published model's name, or not a valid name: a-z, 0-9, _ and -, at most 64."
        )


def output_meaning(recipe: Recipe) -> str:
    """Return what the values of the served map are, for the manifest."""
    if not recipe.classes:
        return OUTPUT_MEANING
    return f"sum of the softmax of {', '.join(recipe.foreground_classes)}, in [0, 1], no min-max stretch"


def _architecture(recipe: Recipe) -> str:
    return recipe.architecture + (f", {len(recipe.classes)} classes" if recipe.classes else "")


def export_and_compare(
    network: nn.Module, name: str, size_px: int, recipe: Recipe, console: Console
) -> tuple[bytes, dict[str, float]]:
    """Return the exported model, and the parity figures under their names in a manifest."""
    foreground = recipe.foreground_labels
    with step(console, "export to ONNX"):
        model_bytes = export_served(network, graph_name=name, size_px=size_px, foreground=foreground)
    with step(console, "parity with PyTorch"):
        pictures = synthetic_pictures(size_px)[:3]
        return model_bytes, measure_trained_parity(
            network, served=model_bytes, pictures=pictures, foreground=foreground
        )


def _weights_origin(run: TrainingRun, checkpoint: Path, *, license_name: str, authors: str) -> WeightsOrigin:
    return WeightsOrigin(
        source=f"trained on {run.data}: {len(run.learned)} pictures, {run.progress.epoch} epochs",
        sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        license=license_name,
        authors=authors,
    )


def held_out_quality(run: TrainingRun) -> dict[str, float]:
    """Return the figures of the best epoch on held-out pictures, under their names in a manifest."""
    best = run.progress.best_row()
    figures = {f"held_out_{name}": best[name] for name in ("mae", "max_f", *CLASS_FIGURES) if name in best}
    if run.progress.empty_mae is not None:
        figures["held_out_mae_empty"] = run.progress.empty_mae
    return figures


def _warn_if_worse_than_empty(run: TrainingRun, console: Console) -> None:
    """Say so if an empty mask has a lower error than the network: it did not learn, or learned too little."""
    mae, empty = run.progress.best_row()["mae"], run.progress.empty_mae
    if empty is not None and mae >= empty:
        console.print(
            f"! This network is worse than an empty mask: its MAE on held-out pictures is {mae:.3f}, that of "
            f"an empty mask {empty:.3f}. Train it for longer, or fine-tune a published network."
        )

"""Trained: a checkpoint of a training run becomes a model to serve, like published weights."""

import hashlib
import re
from pathlib import Path

from rich.console import Console

from app.engine.models.manifest import Manifest, WeightsOrigin
from app.weights.fetch import PUBLISHED
from model_export.architectures.unetpp import UNetPlusPlus
from model_export.checkpoint import trained_network
from model_export.errors import CommandFailed
from model_export.export import describe, export_served, put_in_place, step
from model_export.parity import measure_trained_parity
from model_export.pictures import synthetic_pictures

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def export_trained(
    name: str,
    checkpoint: Path,
    models_dir: Path,
    *,
    authors: str,
    license_name: str,
    depth: int | None = None,
    show_progress: bool = True,
) -> Manifest:
    """Export the network of a training run into ``models_dir/<name>``.

    Args:
        name: What it will be called by; any name that is not a published model's.
        checkpoint: ``best.safetensors`` or ``last.safetensors`` of a run.
        models_dir: The folder of models.
        authors: Who trained it.
        license_name: What may be done with the weights, which depends on the data they were learned from.
        depth: Of a U-Net++, the head to prune it to.
        show_progress: Report each step on stderr.

    Returns:
        The manifest as written.

    Raises:
        CheckpointInvalid: The file is no checkpoint.
        ParityFailed: The exported graph is not the trained network. Nothing was written.
        CommandFailed: The name is taken or cannot be one, or the network cannot be pruned.
    """
    console = Console(stderr=True, quiet=not show_progress, soft_wrap=True, highlight=False)
    if name in PUBLISHED or MODEL_NAME.fullmatch(name) is None:
        raise CommandFailed(
            f"{name!r} is a published model's name, or no name: a-z, 0-9, _ and -, at most 64."
        )
    network, run = trained_network(checkpoint)
    if depth is not None:
        if not isinstance(network, UNetPlusPlus) or not 1 <= depth <= network.depth:
            raise CommandFailed(f"{run.recipe.architecture} has no head {depth} to be pruned to.")
        network = network.pruned(depth)
    size_px = run.recipe.size_px
    with step(console, "export to ONNX"):
        model_bytes = export_served(network, graph_name=name, size_px=size_px)
    with step(console, "parity with PyTorch"):
        quality = measure_trained_parity(
            network, served=model_bytes, pictures=synthetic_pictures(size_px)[:3]
        )
    judged = run.progress.curves[run.progress.best_epoch - 1]
    manifest = describe(
        network,
        model_bytes,
        name=name,
        architecture=run.recipe.architecture + ("" if depth is None else f", pruned to L{depth}"),
        size_px=size_px,
        weights=WeightsOrigin(
            source=f"trained on {run.data}: {len(run.learned)} pictures, {run.progress.epoch} epochs",
            sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            license=license_name,
            authors=authors,
        ),
        quality={**quality, "held_out_mae": judged["mae"], "held_out_max_f": judged["max_f"]},
    )
    put_in_place(manifest, model_bytes, models_dir)
    console.print(f"✓ {models_dir / name}: {len(model_bytes):,} bytes, sha256 {manifest.sha256}")
    return manifest

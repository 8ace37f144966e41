"""Export own: a network that was trained here becomes a model, from its weights in the repository."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from app.engine.models.manifest import Manifest, WeightsOrigin
from app.weights.own import OWN, OwnModel
from model_export.checkpoint import CheckpointInvalid, trained_network
from model_export.export import add_variants, describe, put_in_place
from model_export.export_checkpoint import export_and_compare, held_out_quality
from model_export.ranges import RANGES_FOLDER

TRAINED_FOLDER = Path(__file__).parent / "trained"


def export_own(
    name: str,
    models_dir: Path,
    *,
    precisions: Sequence[str] = (),
    ranges_dir: Path = RANGES_FOLDER,
    show_progress: bool = True,
) -> Manifest:
    """Export a network that was trained in this project into ``models_dir/<name>``.

    Args:
        name: One of ``OWN``.
        models_dir: The folder of models.
        precisions: ``int8`` and ``fp16``, in addition to float32.
        ranges_dir: The folder with the ranges of each model.
        show_progress: Report each step on stderr.

    Returns:
        The manifest as written.

    Raises:
        CheckpointInvalid: The file in the repository is not the one that was published with this code.
        ParityFailed: The exported graph is not the trained network. Nothing was written.
        VariantRefused: A graph is too far from float32, or was not judged. Nothing was written.
        RangesMismatch: The ranges belong to another network.
    """
    console = Console(stderr=True, quiet=not show_progress, soft_wrap=True, highlight=False)
    own = OWN[name]
    network, run = trained_network(verified_checkpoint(own))
    size_px = run.recipe.whole_px
    model_bytes, quality = export_and_compare(network, name, size_px, run.recipe, console)
    manifest = describe(
        network,
        model_bytes,
        name=name,
        architecture=run.recipe.architecture,
        size_px=size_px,
        weights=WeightsOrigin(own.source, own.sha256, own.license, own.authors, own.commercial, own.basis),
        quality={**quality, **held_out_quality(run)},
    )
    manifest = replace(manifest, purpose=own.purpose, uncertain_from=own.uncertain_from)
    manifest, variants = add_variants(manifest, model_bytes, precisions, ranges_dir, console)
    put_in_place(manifest, model_bytes, models_dir, variants)
    console.print(f"✓ {models_dir / name}: {len(model_bytes):,} bytes, sha256 {manifest.sha256}")
    return manifest


def verified_checkpoint(own: OwnModel, folder: Path = TRAINED_FOLDER) -> Path:
    """Return the checkpoint of a model in the repository, after checking its sha256.

    Raises:
        CheckpointInvalid: It is missing, or another file.
    """
    path = folder / f"{own.name}.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != own.sha256:
        raise CheckpointInvalid(f"{path} is missing or damaged: git checkout -- {path.name}")
    return path

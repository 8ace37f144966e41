"""``cutout models``: fetches, lists and verifies models."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.engine.models.manifest import FLOAT32, Manifest, read_manifest, read_model, sha256_of
from app.errors import ModelUnavailable
from app.settings import read_settings
from app.weights.fetch import PUBLISHED, fetch_weights


def fetch(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(PUBLISHED)}.")],
    local: Annotated[Path | None, typer.Option("--from", help="A local copy of the weights.")] = None,
) -> None:
    """Fetch and verify the published weights of a model."""
    settings = read_settings()
    path = fetch_weights(name, settings.models_dir / "weights", local=local)
    typer.echo(path)
    if not (settings.models_dir / name / "manifest.json").exists():
        Console(stderr=True).print(
            f"Verified. To serve it, export it: make export MODEL={name}", highlight=False
        )


def list_models() -> None:
    """List the models that can be fetched, and those that can be served."""
    settings = read_settings()
    table = Table("model", "weights", "served graph", "parameters", "licence")
    found = {path.parent.name for path in settings.models_dir.glob("*/manifest.json")}
    for name in sorted(found | set(PUBLISHED)):
        weights = "fetched" if (settings.models_dir / "weights" / f"{name}.onnx").exists() else "not fetched"
        state, parameters, licence = "not exported", "", PUBLISHED[name].license if name in PUBLISHED else ""
        if name in found:
            state, manifest = _check_model(settings.models_dir / name)
            if manifest is not None:
                parameters, licence = f"{manifest.parameters:,}", manifest.weights.license
        table.add_row(name, weights, state, parameters, licence)
    Console().print(table)


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to verify; all exported ones by default.")
    ] = None,
) -> None:
    """Compare the sha256 of served graphs with their manifests; exit 1 if one differs."""
    settings = read_settings()
    selected = names or sorted(path.parent.name for path in settings.models_dir.glob("*/manifest.json"))
    if not selected:
        raise ValueError(f"there is no model in {settings.models_dir}; run: make export MODEL=u2net")
    failed = False
    for name in selected:
        try:
            manifest = read_manifest(settings.models_dir / name)
            for precision in (FLOAT32, *manifest.precisions):
                read_model(settings.models_dir / name, manifest, precision)
                typer.echo(f"ok    {name}  {precision}  sha256 {sha256_of(manifest, precision)}")
        except ModelUnavailable as error:
            failed = True
            typer.echo(f"BAD   {name}  {error.reason}")
    if failed:
        raise typer.Exit(1)


def _check_model(folder: Path) -> tuple[str, Manifest | None]:
    try:
        manifest = read_manifest(folder)
        for precision in (FLOAT32, *manifest.precisions):
            read_model(folder, manifest, precision)
    except ModelUnavailable:
        return "BROKEN: run cutout models verify", None
    return "verified", manifest

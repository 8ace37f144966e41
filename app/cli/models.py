"""``cutout models``: fetches, lists and verifies models."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.catalogue_table import catalogue_table
from app.engine.models.manifest import FLOAT32, Manifest, read_manifest, read_model, sha256_of
from app.errors import ModelUnavailable
from app.settings import read_settings
from app.weights.catalogue import CATALOGUE
from app.weights.fetch import PUBLISHED, fetch_weights, weights_path
from app.weights.own import OWN


def fetch(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(CATALOGUE)}.")],
    local: Annotated[Path | None, typer.Option("--from", help="A local copy of the weights.")] = None,
) -> None:
    """Fetch and verify the published weights of a model."""
    settings = read_settings()
    catalogue = {key: entry.weights for key, entry in CATALOGUE.items()}
    path = fetch_weights(name, settings.models_dir / "weights", local=local, catalogue=catalogue)
    typer.echo(path)
    if not (settings.models_dir / name / "manifest.json").exists():
        export = f", or export it: make export MODEL={name}" if name in PUBLISHED else ""
        Console(stderr=True).print(
            f"Verified. To serve it, add it: cutout models add {name}{export}", highlight=False
        )


def list_models(
    *,
    is_all: Annotated[bool, typer.Option("--all", help="List the networks that can be added.")] = False,
) -> None:
    """List the models that can be fetched, and those that can be served."""
    settings = read_settings()
    if is_all:
        added = {path.parent.name for path in settings.models_dir.glob("*/manifest.json")}
        Console().print(catalogue_table(added))
        return
    table = Table("model", "weights", "served graph", "parameters", "licence", "commercial")
    found = {path.parent.name for path in settings.models_dir.glob("*/manifest.json")}
    for name in sorted(found | {*PUBLISHED, *OWN}):
        weights = "fetched" if weights_path(name, settings.models_dir / "weights").exists() else "not fetched"
        state, parameters, licence, commercial = "not exported", "", "", ""
        if name in OWN:
            weights, licence, commercial = "in the repository", OWN[name].license, OWN[name].commercial
        elif name in CATALOGUE:
            licence, commercial = CATALOGUE[name].weights.license, CATALOGUE[name].commercial
        if name in found:
            state, manifest = _check_model(settings.models_dir / name)
            if manifest is not None:
                parameters, licence = f"{manifest.parameters:,}", manifest.weights.license
                commercial = manifest.weights.commercial or commercial
        table.add_row(name, weights, state, parameters, licence, commercial)
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
        raise ValueError(f"there is no model in {settings.models_dir}; run: cutout models add u2net")
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

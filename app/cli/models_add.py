"""``cutout models add``: makes an ONNX file, or a network of the catalogue, into a served model."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli.catalogue_table import describe_entry
from app.cli.stopping import cleans_up
from app.engine.models.manifest import VARIANT_FILES, Manifest
from app.onnx_import.install import PREVIEW_FILE, holds_model, put_in_place, staged
from app.settings import read_settings
from app.weights.catalogue import CATALOGUE, CatalogueEntry, entry_of_file
from app.weights.fetch import WEIGHTS_FOLDER, fetch_weights, verify_weights, weights_path
from app.weights.own import OWN

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
Triple = Annotated[str | None, typer.Option(metavar="R,G,B")]
Scale = Annotated[
    str | None, typer.Option(help="What divides a picture: max (its own maximum), picture, or a number.")
]
Activation = Annotated[str | None, typer.Option(help="After the network: none, sigmoid or softmax:K.")]
Output = Annotated[int | None, typer.Option(help="The number of the output, from 0; -1 is the last.")]
Precisions = Annotated[
    str | None, typer.Option(help="Make it in int8 or fp16 too (int8,fp16); refused if it is too far off.")
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Your pictures, to calibrate int8 on.")]


def add(
    source: Annotated[str, typer.Argument(metavar="FILE.onnx|NAME", help="A file, or a catalogue's name.")],
    *,
    name: Annotated[str | None, typer.Option(help="The model's name; by default the file's.")] = None,
    size: Annotated[str | None, typer.Option(help="Of the network's input: 512, or HEIGHTxWIDTH.")] = None,
    mean: Triple = None,
    std: Triple = None,
    scale: Scale = None,
    order: Annotated[str | None, typer.Option(help="Of the network's channels: rgb or bgr.")] = None,
    activation: Activation = None,
    output: Output = None,
    invert: Annotated[bool, typer.Option("--invert", help="The output is the background's.")] = False,
    license_: Annotated[str, typer.Option("--license", help="Of the weights.")] = "",
    authors: Annotated[str, typer.Option(help="Of the network.")] = "",
    origin: Annotated[str, typer.Option("--source", help="Where the file is from.")] = "",
    local: Annotated[Path | None, typer.Option("--from", help="A local copy of a catalogue's file.")] = None,
    precision: Precisions = None,
    data: Data = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model of that name.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Download and add without asking.")] = False,
) -> None:
    """Add a model: an ONNX file of your own, or a network of the catalogue (`cutout models list --all`)."""
    models_dir = read_settings().models_dir
    precisions = _precisions(precision, data)
    file, entry = _find(source, local, models_dir, is_agreed=yes)
    model = name or (entry.weights.name if entry is not None else _name_of(file))
    _require_free(model, models_dir, may_replace=replace)
    fields = {
        "mean": _triple("--mean", mean),
        "std": _triple("--std", std),
        "scale": scale,
        "order": _order(order),
        "activation": activation,
        "output": output,
        "is_inverted": invert or None,
    }
    named = {key: value for key, value in fields.items() if value is not None}
    request = {
        "file": str(file),
        "name": model,
        "size": _size(size),
        "fields": named,
        "origin": {"license": license_, "authors": authors, "source": origin},
        "precisions": precisions,
        "data": None if data is None else str(data),
    }
    _add(request, models_dir, named=set(named), is_known=entry is not None, is_agreed=yes)


def _add(
    order: dict[str, Any],  # Any: JSON
    models_dir: Path,
    *,
    named: set[str],
    is_known: bool,
    is_agreed: bool,
) -> None:
    """Build a model, show it, and put it in place if the user agrees."""
    if order["precisions"]:
        title = f"Making {order['name']} in {' and '.join(order['precisions'])} too; this can take minutes."
        Console(stderr=True, highlight=False).print(title)
    with cleans_up(), staged(order, models_dir) as (manifest, staging):
        _show(manifest, named=named, is_known=is_known)
        if not is_agreed:
            Console(stderr=True, highlight=False).print(
                f"Look at the photographs with their maps: {staging / PREVIEW_FILE}", soft_wrap=True
            )
        _require_agreement(f"Add it as {manifest.name}?", is_agreed=is_agreed)
        target = put_in_place(staging, models_dir)
    typer.echo(target)
    console = Console(stderr=True, highlight=False)
    console.print(f"Photographs with their maps: {target / PREVIEW_FILE}", soft_wrap=True)
    console.print(f"Serve it: cutout serve --model {manifest.name}")


def _find(
    source: str, local: Path | None, models_dir: Path, *, is_agreed: bool
) -> tuple[Path, CatalogueEntry | None]:
    """Return the file to add, fetched if it is the catalogue's and missing, and its entry there."""
    path = Path(source)
    if source in OWN:
        raise ValueError(f"{source} was trained in this project; in a checkout: make export MODEL={source}")
    if source not in CATALOGUE or (path.suffix and path.is_file()):
        if not path.exists():
            names = ", ".join(CATALOGUE)
            raise ValueError(f"{source} is neither a file nor a model of the catalogue, which has: {names}")
        if local is not None:
            raise ValueError("--from belongs to a name of the catalogue, not to a file")
        return path, entry_of_file(path)
    entry = CATALOGUE[source]
    folder = models_dir / WEIGHTS_FOLDER
    catalogue = {source: entry.weights}
    if not verify_weights(source, folder, catalogue=catalogue):
        Console(stderr=True, highlight=False).print(describe_entry(entry))
        if local is None:
            megabytes = entry.weights.size_bytes / 1e6
            _require_agreement(f"Download {megabytes:.1f} MB?", is_agreed=is_agreed)
        fetch_weights(source, folder, local=local, catalogue=catalogue)
    return weights_path(source, folder), entry


def _precisions(text: str | None, data: Path | None) -> list[str]:
    """Return the named precisions, after checking that there are pictures to calibrate on."""
    names = [] if text is None else text.split(",")
    if not set(names) <= set(VARIANT_FILES):
        raise ValueError(f"--precision is int8, fp16 or int8,fp16, not {text!r}")
    if data is None and "int8" in names:
        raise ValueError("--precision int8 is calibrated on your pictures; name their folder by --data DIR")
    if data is not None:
        if not names:
            raise ValueError("--data belongs to --precision")
        # Imported here: it loads the decoders, and every command imports this module first.
        from app.onnx_import.calibration_pictures import find_calibration_pictures

        find_calibration_pictures(data)
    return [name for name in VARIANT_FILES if name in names]


def _require_agreement(question: str, *, is_agreed: bool) -> None:
    if is_agreed:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"{question} There is no terminal to ask on; to agree, add --yes")
    if not typer.confirm(question, err=True):
        raise ValueError("nothing was added")


def _require_free(name: str, models_dir: Path, *, may_replace: bool) -> None:
    if MODEL_NAME.fullmatch(name) is None or name == WEIGHTS_FOLDER:
        raise ValueError(
            f"{name!r} cannot be a model's name; choose one of lower-case letters, digits, -, _ and . "
            "by --name"
        )
    if holds_model(models_dir / name) and not may_replace:
        raise ValueError(f"there is a model {name} already; add --replace, or choose another name by --name")


def _name_of(file: Path) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", file.stem.lower()).strip("-._")[:64]


def _size(text: str | None) -> list[int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if match is None:
        raise ValueError(f"--size is a number or HEIGHTxWIDTH in pixels, not {text!r}")
    return [int(match[1]), int(match[2] or match[1])]


def _triple(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise ValueError(f"{option} is one number or three with commas between, not {text!r}")
    return values if len(values) == 3 else values * 3


def _order(text: str | None) -> str | None:
    if text not in (None, "rgb", "bgr"):
        raise ValueError(f"--order is rgb or bgr, not {text!r}")
    return text


def _show(manifest: Manifest, *, named: set[str], is_known: bool) -> None:
    """Show what will be written, and where each value comes from."""

    def origin(field: str) -> str:
        if field in named:
            return "as named"
        if is_known:
            return "as in the catalogue"
        return (
            "read off" if field in ("size", "output", "activation") else "assumed; name it if it is another"
        )

    table = Table("", manifest.name, "", title=None, show_header=True)
    members: dict[str, Any] = dict(manifest.preprocessing)
    height, width = members.pop("size")
    table.add_row("size", f"{height} × {width} px", origin("size"))
    for field, value in members.items():
        text = ", ".join(f"{each:g}" for each in value) if isinstance(value, list) else str(value)
        table.add_row(field, text, origin(field))
    together = "one picture at a time" if manifest.max_batch == 1 else "pictures together"
    table.add_row("batch", together, "proved with two photographs")
    difference = manifest.quality["import_file_max_abs"]
    table.add_row("difference", f"{difference:.2g}", "largest, from a plain run of the file")
    table.add_row("parameters", f"{manifest.parameters:,}", f"stored as {manifest.precision}")
    for precision, variant in manifest.precisions.items():
        figures = f"d {variant.quality['d']:.4f}, worst picture {variant.quality['d_worst']:.4f}"
        table.add_row(precision, figures, f"mean difference from float32; {variant.size_bytes:,} bytes")
    table.add_row("licence", manifest.weights.license, f"commercial use: {manifest.weights.commercial}")
    Console(stderr=True, highlight=False).print(table)

"""Description: a built graph and what is known about its weights become a manifest, a card and a preview."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.engine.models.manifest import Manifest, WeightsOrigin
from app.imaging.formats.encode import encode
from app.onnx_import.build import BuiltGraph
from app.onnx_import.child import PREVIEW_FILE
from app.weights.catalogue import CatalogueEntry

CARD_FILE = "README.md"
OUTPUT_MEANING = "saliency in [0, 1], no min-max stretch"
UNKNOWN = "unknown"
PRECISIONS = """
Further precisions, made by `cutout models add --precision`. d is the mean |difference| of a map to that in
float32, over pictures that were held back.

| File | Precision | d | worst picture |
|---|---|---|---|
{variants}
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the user says about the weights; empty where the catalogue decides, or it is unknown."""

    license: str = ""
    authors: str = ""
    source: str = ""


def describe(
    built: BuiltGraph, name: str, file: Path, origin: Origin, entry: CatalogueEntry | None
) -> Manifest:
    """Return the manifest of a built graph.

    Args:
        built: The graph.
        name: The model's name.
        file: The file that it was made from.
        origin: What the user says about its weights.
        entry: The file's entry in the catalogue, if it has one.
    """
    weights = WeightsOrigin(
        origin.source or file.name,
        built.source_sha256,
        origin.license or UNKNOWN,
        origin.authors or UNKNOWN,
        "unclear",
    )
    if entry is not None:
        published = entry.weights
        weights = WeightsOrigin(
            published.url or f"{published.npm}: {published.member}",
            published.sha256,
            published.license,
            published.authors,
            entry.commercial,
            entry.basis,
        )
        weights = replace(weights, **{key: text for key, text in _given(origin).items() if text})
    quality = {"import_file_max_abs": built.file_difference}
    if built.batch_difference is not None:
        quality["import_batch_max_abs"] = built.batch_difference
    return Manifest(
        name=name,
        architecture=UNKNOWN if entry is None else entry.architecture,
        sha256=hashlib.sha256(built.model_bytes).hexdigest(),
        size_bytes=len(built.model_bytes),
        opset=built.anatomy.opset,
        input_size_px=max(built.size),
        output=OUTPUT_MEANING,
        precision=built.stored_as,
        parameters=built.parameters,
        weights=weights,
        quality=quality,
        purpose="" if entry is None else entry.purpose,
        uncertain_from=None if entry is None else entry.weights.uncertain_from,
        max_batch=built.max_batch,
        preprocessing={"size": list(built.size), **built.preprocessing.as_members()},
    )


def _given(origin: Origin) -> dict[str, str]:
    return {"license": origin.license, "authors": origin.authors, "source": origin.source}


def write_card(manifest: Manifest, folder: Path) -> None:
    """Write the model's card, a Markdown page whose facts all come from the manifest."""
    weights, size = manifest.weights, manifest.input_size_px
    together = "one picture at a time" if manifest.max_batch == 1 else "pictures together"
    values = ", ".join(f"{key} {value}" for key, value in manifest.preprocessing.items())
    basis = f" ({weights.basis})" if weights.basis else ""
    figures = "\n".join(f"| `{name}` | {figure:.3g} |" for name, figure in manifest.quality.items())
    variants = "\n".join(
        f"| `{each.file}` | {name}, {each.size_bytes:,} bytes | {each.quality['d']:.5f} | "
        f"{each.quality['d_worst']:.5f} |"
        for name, each in manifest.precisions.items()
    )
    precisions = PRECISIONS.format(variants=variants) if variants else ""
    text = f"""# {manifest.name}

{manifest.purpose or "A network of a third party."}

| | |
|---|---|
| Architecture | {manifest.architecture}, {manifest.parameters:,} parameters, stored as {manifest.precision} |
| File | `model.onnx`, {manifest.size_bytes:,} bytes, ONNX opset {manifest.opset} |
| sha256 | `{manifest.sha256}` |
| Input | `network_input`, uint8 (batch, {size}, {size}, 3), upright sRGB; runs {together} |
| Output | `saliency`, float32 (batch, {size}, {size}): {manifest.output} |
| Preprocessing | {values} |
| Authors | {weights.authors} |
| Licence of the weights | {weights.license} |
| Commercial use | {weights.commercial}{basis} |
| Source | {weights.source} |
| sha256 of the source | `{weights.sha256}` |

`import_file_max_abs` is the largest difference between the served maps of two photographs and those of the
file, run plainly; `import_batch_max_abs` is the one between a picture alone and in a batch.

| Figure | Value |
|---|---|
{figures}
{precisions}"""
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def write_preview(built: BuiltGraph, folder: Path) -> Path:
    """Write each photograph with its map next to it, as one picture, and return its path."""
    grey = np.rint(255 * built.maps).astype(np.uint8)
    rows = [
        np.concatenate([picture, np.repeat(saliency[..., None], 3, axis=2)], axis=1)
        for picture, saliency in zip(built.pictures, grey, strict=True)
    ]
    path = folder / PREVIEW_FILE
    path.write_bytes(encode(np.concatenate(rows), format="png", quality=100))
    return path

"""Card: a manifest becomes a page that says to people what the model is."""

from pathlib import Path

from app.engine.manifest import Manifest

CARD_FILE = "README.md"


def write_card(manifest: Manifest, folder: Path) -> Path:
    """Write the model card into ``folder`` and return its path."""
    path = folder / CARD_FILE
    path.write_text(model_card(manifest), encoding="utf-8")
    return path


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown. It says nothing that the manifest does not."""
    size = manifest.input_size_px
    figures = "\n".join(f"| `{name}` | {figure:.3g} |" for name, figure in manifest.quality.items())
    return f"""# {manifest.name}

Finds the salient object of a picture: one foreground probability a pixel.

| | |
|---|---|
| Architecture | {manifest.architecture}, {manifest.parameters:,} parameters |
| File | `model.onnx`, {manifest.size_bytes:,} bytes, ONNX opset {manifest.opset}, {manifest.precision} |
| sha256 | `{manifest.sha256}` |
| Input | `network_input`, uint8 (batch, {size}, {size}, 3), upright sRGB; normalisation is inside the graph |
| Output | `saliency`, float32 (batch, {size}, {size}): {manifest.output} |

## Weights

| | |
|---|---|
| Authors | {manifest.weights.authors} |
| Licence | {manifest.weights.license} |
| Source | {manifest.weights.source} |
| sha256 of the source | `{manifest.weights.sha256}` |

## Quality

Largest absolute differences over all test pictures and pixels, of saliency in [0, 1].

| Figure | Value |
|---|---|
{figures}

`published` compares the ported network with the published file on all its outputs, and `served`
this file with the ported network, both in float64, where only a real difference shows. `batch`
compares a batch with its pictures run one by one. The two `float32` figures hold what different
runtimes round differently.
"""

"""Card: a manifest becomes a page that says to people what the model is."""

from pathlib import Path

from app.engine.models.manifest import Manifest

CARD_FILE = "README.md"
_LARGEST = "the largest absolute difference over test pictures and pixels, of saliency in [0, 1]"
EXPLAINED = {
    "parity_published_max_abs": "`published`: of the ported network from the published file, all its outputs "
    f"in float64, where only a real difference shows; {_LARGEST}.",
    "parity_served_max_abs": "`served`: of this file from the ported network, likewise.",
    "parity_batch_max_abs": f"`batch`: of a batch from its pictures run one by one; {_LARGEST}.",
    "parity_published_float32_max_abs": "`published_float32`: what the two runtimes round differently.",
    "parity_served_float32_max_abs": "`served_float32`: of this file in ONNX Runtime from PyTorch.",
    "held_out_mae": "`held_out_mae`, `held_out_max_f`: on pictures of the set that were not learned from, "
    "at the network's own size; maxF by the papers' protocol.",
}
"""What a figure is, by its name in the manifest."""


def write_card(manifest: Manifest, folder: Path) -> Path:
    """Write the model card into ``folder`` and return its path."""
    path = folder / CARD_FILE
    path.write_text(model_card(manifest), encoding="utf-8")
    return path


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown. It says nothing that the manifest does not."""
    size = manifest.input_size_px
    explained = "\n".join(f"- {text}" for figure, text in EXPLAINED.items() if figure in manifest.quality)
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

| Figure | Value |
|---|---|
{figures}

{explained}
"""

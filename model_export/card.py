"""Card: a manifest becomes a model card, a Markdown page for people."""

from pathlib import Path

from app.engine.models.manifest import Manifest

CARD_FILE = "README.md"
_LARGEST = "largest absolute difference over test pictures and pixels, of saliency in [0, 1]"
EXPLAINED = {
    "parity_published_max_abs": "`published`: the ported network against the published file, all outputs, in "
    f"float64, where rounding hides no real difference; {_LARGEST}.",
    "parity_served_max_abs": "`served`: this file against the ported network, in the same way.",
    "parity_batch_max_abs": f"`batch`: a batch against its pictures run one by one; {_LARGEST}.",
    "parity_published_float32_max_abs": "`published_float32`: rounding differences between the two runtimes.",
    "parity_served_float32_max_abs": "`served_float32`: this file in ONNX Runtime against PyTorch.",
    "held_out_mae": "`held_out_mae`, `held_out_max_f`: on pictures held out from training, at the "
    "network's own size; maxF by the papers' protocol.",
    "held_out_mean_iou": "`held_out_pixel_accuracy`, `held_out_mean_accuracy`, `held_out_mean_iou`, "
    "`held_out_frequency_weighted_iou`: of the classes, on the same pictures, as in Long et al. 2015.",
    "held_out_mae_empty": "`held_out_mae_empty`: the MAE of an empty mask on the same pictures; a network "
    "that is not better has learned nothing.",
}
"""Explanations of the figures, by their names in the manifest."""
VARIANT_FIGURES = ("d", "d_p95", "d_worst", "mae", "mae_float32", "maxf", "maxf_float32")


def write_card(manifest: Manifest, folder: Path) -> Path:
    """Write the model card into ``folder`` and return its path."""
    path = folder / CARD_FILE
    path.write_text(model_card(manifest), encoding="utf-8")
    return path


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown. All its facts come from the manifest."""
    size = manifest.input_size_px
    explained = "\n".join(f"- {text}" for figure, text in EXPLAINED.items() if figure in manifest.quality)
    figures = "\n".join(f"| `{name}` | {figure:.3g} |" for name, figure in manifest.quality.items())
    return f"""# {manifest.name}

Finds {manifest.purpose or "the salient object"} of a picture: one foreground probability a pixel.

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
{_precisions(manifest)}"""


def _precisions(manifest: Manifest) -> str:
    """Return the section about a model's variants, or nothing if it has none."""
    if not manifest.precisions:
        return ""
    rows = "\n".join(
        f"| {precision} | `{variant.file}`, {variant.size_bytes:,} bytes | "
        + " | ".join(f"{variant.quality[name]:.4f}" for name in VARIANT_FIGURES)
        + f" | `{variant.sha256}` |"
        for precision, variant in manifest.precisions.items()
    )
    columns = " | ".join(VARIANT_FIGURES)
    return f"""
## Other precisions

The same network with the same inputs and outputs. `d` is the mean absolute difference to the float32 map
at network size, over pictures with true masks: mean, 95th percentile and largest. MAE and maxF (paper) of the
same pictures follow, each with that of float32.

| Precision | File | {columns} | sha256 |
|---|---|{"---|" * len(VARIANT_FIGURES)}---|
{rows}
"""

"""Export: published weights become ``model.onnx``, its variants, its manifest and its card.

The order makes an export safe: parity is measured on exactly the bytes to be served, then all files are
written to a staging folder next to the final one and moved into place, the manifest last. A failed export
leaves the earlier model unchanged.
"""

import hashlib
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from rich.console import Console
from torch import nn

from app.engine.models.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    VARIANT_FILES,
    Manifest,
    WeightsOrigin,
    write_manifest,
)
from app.weights.catalogue import entry_of
from app.weights.fetch import WEIGHTS_FOLDER, fetch_weights, published
from model_export.architectures import ARCHITECTURES
from model_export.card import CARD_FILE, write_card
from model_export.cost import count_parameters
from model_export.parity import measure_parity
from model_export.pictures import synthetic_pictures
from model_export.port import port
from model_export.ranges import RANGES_FOLDER, read_ranges
from model_export.serving_graph import ServedGraph
from model_export.simplify import simplify
from model_export.variants import (
    describe_variant,
    int8_saturates,
    make_variant,
    measure_here,
    require_here,
)
from model_export.weights import read_convolutions

INPUT_SIZE_PX = 320  # the size of the authors' training and tests
OPSET = 18
OUTPUT_MEANING = "raw sigmoid saliency in [0, 1], no min-max stretch"
INPUT_NAME = "network_input"
OUTPUT_NAME = "saliency"
BATCH_AXIS = "batch"


def export(
    name: str,
    models_dir: Path,
    *,
    precisions: Sequence[str] = (),
    local_weights: Path | None = None,
    ranges_dir: Path = RANGES_FOLDER,
    show_progress: bool = True,
) -> Manifest:
    """Export a published model into ``models_dir/<name>``.

    Args:
        name: The name of an architecture with published weights.
        models_dir: The folder of models; its subfolder ``weights`` keeps the published weights.
        precisions: ``int8`` and ``fp16``, in addition to float32.
        local_weights: A file to read the weights from before trying the network.
        ranges_dir: The folder with the ranges of each model.
        show_progress: Report each step on stderr.

    Returns:
        The manifest as written; its ``quality`` holds the parity figures.

    Raises:
        WeightsUnavailable: The name is unknown, or no source has its weights.
        PublishedWeightsInvalid: The weights do not fit the architecture.
        ParityFailed: The exported graph is not the published network. Nothing was written.
        VariantRefused: A graph is too far from float32, or was not judged. Nothing was written.
        RangesMismatch: The ranges belong to another network.
        OSError: The folder cannot be written.
    """
    console = Console(stderr=True, quiet=not show_progress, soft_wrap=True, highlight=False)
    published(name)
    weights_path = fetch_weights(  # shows its own progress bar
        name, models_dir / WEIGHTS_FOLDER, local=local_weights, show_progress=show_progress
    )
    console.print(f"✓ weights: {weights_path}")
    network, model_bytes, quality = _export_and_compare(name, weights_path, console)
    manifest = _describe_published(network, model_bytes, name=name, quality=quality)
    manifest, variants = add_variants(manifest, model_bytes, precisions, ranges_dir, console)
    put_in_place(manifest, model_bytes, models_dir, variants)
    console.print(f"✓ {models_dir / name}: {len(model_bytes):,} bytes, sha256 {manifest.sha256}")
    return manifest


def _describe_published(
    network: nn.Module, model_bytes: bytes, *, name: str, quality: dict[str, float]
) -> Manifest:
    """Return the manifest of published weights, with what the catalogue has about them."""
    entry = entry_of(name)
    weights = entry.weights
    manifest = describe(
        network,
        model_bytes,
        name=name,
        architecture=name,
        size_px=INPUT_SIZE_PX,
        weights=WeightsOrigin(
            weights.url, weights.sha256, weights.license, weights.authors, entry.commercial, entry.basis
        ),
        quality=quality,
    )
    return replace(manifest, purpose=entry.purpose, uncertain_from=weights.uncertain_from)


def _export_and_compare(
    name: str, weights_path: Path, console: Console
) -> tuple[nn.Module, bytes, dict[str, float]]:
    """Return the ported network, its graph, and the parity figures under their names in a manifest."""
    with step(console, "port into PyTorch"):
        network = port(ARCHITECTURES[name](), read_convolutions(weights_path))
    with step(console, "export to ONNX"):
        model_bytes = export_served(network, graph_name=name)
    with step(console, "parity with the published file"):
        pictures = synthetic_pictures(INPUT_SIZE_PX)[:3]  # without the black one: no rounding occurs on it
        parity = measure_parity(network, served=model_bytes, published=weights_path, pictures=pictures)
        parity.require()
    return network, model_bytes, parity.quality()


def add_variants(
    manifest: Manifest, model_bytes: bytes, precisions: Sequence[str], ranges_dir: Path, console: Console
) -> tuple[Manifest, dict[str, bytes]]:
    """Make a model's graphs in other precisions, and check them.

    Returns:
        The manifest with an entry for each precision, and the graphs by precision.

    Raises:
        VariantRefused: A graph is too far from float32, or was not judged.
        RangesMismatch: The ranges belong to another network.
    """
    if not precisions:
        return manifest, {}
    ranges = read_ranges(ranges_dir / f"{manifest.name}.json")
    graphs, entries = {}, {}
    for precision in precisions:
        with step(console, f"{precision}"):
            graphs[precision] = make_variant(model_bytes, precision, ranges)
            entries[precision] = describe_variant(graphs[precision], precision, ranges.judged)
            d = measure_here(model_bytes, graphs[precision], manifest.input_size_px)
            saturated = precision == "int8" and int8_saturates()
            require_here(d, precision, saturated=saturated)
        console.print(f"  d {entries[precision].quality['d']:.4f} as judged, {d:.4f} on this machine")
        if saturated:
            console.print("  This processor's sums of 8-bit products saturate: int8 is exported for others.")
    return replace(manifest, precisions=entries), graphs


def export_served(
    network: nn.Module, *, graph_name: str, size_px: int = INPUT_SIZE_PX, foreground: Sequence[int] = ()
) -> bytes:
    """Export a network with the serving contract as the bytes of one ONNX file.

    Batch normalisations are folded into the convolutions before them, and constants are precomputed.
    Two exports of one network on one machine are equal byte for byte.

    Args:
        network: In evaluation mode; takes (N, 3, S, S), returns logits, the map to serve first.
        graph_name: The name of the graph.
        size_px: S, fixed in the file; the batch axis is dynamic.
        foreground: The labels of the classes that are served, as for ``ServedGraph``.
    """
    # Two pictures: the exporter would treat a batch of one as a constant.
    example = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    with _without_exporter_output():
        program = torch.onnx.export(
            ServedGraph(network, foreground).eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim(BATCH_AXIS, min=1)},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    model = simplify(program.model_proto, graph_name=graph_name)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def describe(
    network: nn.Module,
    model_bytes: bytes,
    *,
    name: str,
    architecture: str,
    size_px: int,
    weights: WeightsOrigin,
    quality: dict[str, float],
    output: str = OUTPUT_MEANING,
) -> Manifest:
    """Return the manifest of an exported network."""
    return Manifest(
        name=name,
        architecture=architecture,
        sha256=hashlib.sha256(model_bytes).hexdigest(),
        size_bytes=len(model_bytes),
        opset=OPSET,
        input_size_px=size_px,
        output=output,
        precision="float32",
        parameters=count_parameters(network),
        weights=weights,
        quality=quality,
    )


def put_in_place(
    manifest: Manifest, model_bytes: bytes, models_dir: Path, variants: Mapping[str, bytes] | None = None
) -> None:
    """Write a model, its variants by precision, its card and its manifest, the manifest last.

    Variants of an earlier export that the manifest no longer names are removed after that.
    """
    folder = models_dir / manifest.name
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {MODEL_FILE: model_bytes}
    for precision, variant_bytes in (variants or {}).items():
        graphs[VARIANT_FILES[precision]] = variant_bytes
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=f".{manifest.name}-") as staging:
        staged = Path(staging)
        for file, graph in graphs.items():
            (staged / file).write_bytes(graph)
        write_card(manifest, staged)
        write_manifest(manifest, staged)
        for file in (*graphs, CARD_FILE, MANIFEST_FILE):
            (staged / file).replace(folder / file)
    for file in set(VARIANT_FILES.values()) - set(graphs):
        (folder / file).unlink(missing_ok=True)


@contextmanager
def step(console: Console, title: str) -> Iterator[None]:
    """Show the current step, and how long it took."""
    started_s = time.monotonic()
    with console.status(f"{title} …"):
        yield
    console.print(f"✓ {title}: {time.monotonic() - started_s:.1f} s")


@contextmanager
def _without_exporter_output() -> Iterator[None]:
    """Silence the exporter's messages about absent optional packages and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""Variants: makes an imported network in further precisions, by the machinery of the export.

A graph is kept if its maps of pictures that it was not made with are close to those in float32. int8 needs
the user's pictures for its ranges; fp16 needs none and is judged on the photographs if there are none.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from app.arrays import NetworkInput
from app.engine.models.manifest import FLOAT32, VARIANT_FILES, Variant
from app.onnx_import.build import BuiltGraph
from app.onnx_import.calibration_pictures import read_calibration_pictures
from app.onnx_import.precision.canonical import canonical
from app.onnx_import.precision.float16 import to_float16
from app.onnx_import.precision.judge import maps_of, require_batches, require_close
from app.onnx_import.precision.search import quantise_closely
from app.onnx_import.refusal import GraphRefused, RunFailed


def make_variants(
    built: BuiltGraph, precisions: Sequence[str], folder: Path | None
) -> Mapping[str, tuple[bytes, Variant]]:
    """Return the graphs in further precisions, each with its entry in the manifest.

    Args:
        built: The served graph.
        precisions: ``int8`` and ``fp16``, or one of them.
        folder: The user's pictures; needed for int8.

    Raises:
        GraphRefused: The file is not in float32, cannot be made in a precision, or is too far from float32.
    """
    if precisions and built.stored_as != FLOAT32:
        raise GraphRefused(
            f"The file is stored as {built.stored_as}; other precisions are made from a file in float32."
        )
    calibration: Sequence[NetworkInput] = ()
    held_back: Sequence[NetworkInput] = list(built.pictures)
    if folder is not None:
        found = read_calibration_pictures(folder, max(built.size))
        calibration, held_back = found.calibration, found.held_back
    expected = maps_of(built.model_bytes, held_back)
    variants = {}
    for precision in precisions:
        prepared = canonical(built.model_bytes, built.pictures[:1])
        made = _made(prepared, precision, calibration)
        quality = require_close(made, precision, held_back, expected)
        if built.max_batch is None:
            require_batches(made, precision, built.pictures)
        digest = hashlib.sha256(made).hexdigest()
        variants[precision] = made, Variant(VARIANT_FILES[precision], digest, len(made), quality)
    return variants


def _made(prepared: bytes, precision: str, calibration: Sequence[NetworkInput]) -> bytes:
    try:
        return quantise_closely(prepared, calibration) if precision == "int8" else to_float16(prepared)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RunFailed) as error:
        reason = " ".join(str(error).split())[:300]
        raise GraphRefused(f"The graph cannot be made in {precision}: {reason}") from error

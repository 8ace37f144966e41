"""Variants: makes a model in another precision, and refuses one whose figures are missing or too bad.

The figures in a manifest were measured once, with ``judge``, on pictures with known truth. They belong to one
graph, named by its digest; an export that makes another graph is refused until it has been judged.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.engine.models.manifest import VARIANT_FILES, Variant
from app.onnx_import.precision.float16 import to_float16
from app.onnx_import.precision.graph_layers import read_layers
from app.onnx_import.precision.judge import MAX_D, differences, maps_of
from app.onnx_import.precision.quantise import graph_digest, quantise
from app.onnx_import.runner import Runner
from model_export.errors import CommandFailed
from model_export.islands import island_layers
from model_export.network_inputs import sample_inputs
from model_export.ranges import Judgement, Ranges

MAX_MAE_LOSS = 0.001
GROSS_D = 0.02
"""The largest d on this machine's own pictures: they are few, so only a broken graph exceeds it."""


class VariantRefused(CommandFailed):
    """A graph in another precision is too far from float32, or was not judged."""


def make_variant(model_bytes: bytes, precision: str, ranges: Ranges) -> bytes:
    """Return a float32 graph in another precision.

    Args:
        model_bytes: The exported float32 graph.
        precision: ``int8`` or ``fp16``.
        ranges: Ranges of the same model.

    Raises:
        RangesMismatch: The ranges belong to another network.
    """
    if precision == "fp16":
        return to_float16(model_bytes)
    layers = read_layers(onnx.load_from_string(model_bytes).graph).layers
    return quantise(
        model_bytes, ranges.activations, ranges.means, islands=island_layers(ranges.model, layers)
    )


def describe_variant(variant_bytes: bytes, precision: str, judged: Mapping[str, Judgement]) -> Variant:
    """Return the manifest's entry of a graph, with the figures of its judgement.

    Raises:
        VariantRefused: The graph was not judged, or its figures are above the limits.
    """
    judgement = judged.get(precision)
    if judgement is None or judgement.graph != graph_digest(variant_bytes):
        what = "was not judged" if judgement is None else "is not the graph that was judged"
        raise VariantRefused(
            f"The {precision} graph {what}, so its figures are not known. Judge it on pictures with true "
            "masks: python -m model_export judge NAME --data DIR. Nothing was exported."
        )
    require_quality(judgement.quality, precision)
    return Variant(
        file=VARIANT_FILES[precision],
        sha256=hashlib.sha256(variant_bytes).hexdigest(),
        size_bytes=len(variant_bytes),
        quality=judgement.quality,
    )


def require_quality(quality: Mapping[str, float], precision: str) -> None:
    """Check the figures of a judgement.

    Raises:
        VariantRefused: The graph is too far from float32; the message has each figure and its limit.
    """
    loss = quality["mae"] - quality["mae_float32"]
    failed = [
        f"{name} is {figure:.5f}, the limit is {limit:g}"
        for name, figure, limit in (("d", quality["d"], MAX_D), ("the loss of MAE", loss, MAX_MAE_LOSS))
        if not figure <= limit  # true of NaN too
    ]
    if failed:
        raise VariantRefused(
            f"The {precision} graph is too far from float32: {'; '.join(failed)}. Nothing was exported."
        )


def measure_here(float32_bytes: bytes, variant_bytes: bytes, size_px: int) -> float:
    """Return the mean d on synthetic pictures and photographs, as this machine computes it."""
    pictures = list(sample_inputs(size_px))
    return float(np.mean(differences(maps_of(float32_bytes, pictures), maps_of(variant_bytes, pictures))))


def require_here(d: float, precision: str, *, saturated: bool) -> None:
    """Check a graph's d on this machine; a processor that saturates is no fault of the graph.

    Raises:
        VariantRefused: The graph is broken, or this machine computes it wrongly.
    """
    if d <= GROSS_D or (precision == "int8" and saturated):
        return
    raise VariantRefused(
        f"The {precision} graph differs from float32 by {d:.4f} on this machine; more than {GROSS_D:g} means "
        "that the graph is broken, or that this machine computes it wrongly. Nothing was exported."
    )


def int8_saturates() -> bool:
    """Return whether this processor's sums of 8-bit products saturate, as on x86 without VNNI.

    Runs one integer convolution of the largest values, and compares it with the exact sum.
    """
    channels = 64
    kernel = np.full((16, channels, 1, 1), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("ConvInteger", ["features", "kernel"], ["sums"])],
        "saturation",
        [helper.make_tensor_value_info("features", TensorProto.UINT8, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 16, 8, 8])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (sums,) = Runner.load(model.SerializeToString()).run(np.full((1, channels, 8, 8), 255, np.uint8))
    return bool((sums != channels * 127 * 255).any())

"""Float16: a float32 graph becomes one for GPUs, in half precision, with the same contract.

Normalisation and sigmoid stay in float32: the first divides 8-bit colours, the second makes the output.
"""

import importlib

import onnx

from app.engine.models.onnxruntime_loader import onnxruntime


def to_float16(model_bytes: bytes) -> bytes:
    """Return an fp16 graph; two calls with equal arguments return equal bytes."""
    model = onnx.load_from_string(model_bytes)
    first = next(number for number, node in enumerate(model.graph.node) if node.op_type == "Conv")
    kept = [node.name for node in model.graph.node[:first]]
    kept += [node.name for node in model.graph.node if node.op_type in ("Sigmoid", "Squeeze")]
    converter = importlib.import_module(f"{onnxruntime.__name__}.transformers.float16")
    half = converter.convert_float_to_float16(
        model, keep_io_types=True, op_block_list=[], node_block_list=kept
    )
    onnx.checker.check_model(half, full_check=True)
    return bytes(half.SerializeToString(deterministic=True))

"""Float16: a float32 graph becomes one for GPUs, in half precision, with the same contract.

Normalisation and sigmoid stay in float32: the first divides 8-bit colours, the second makes the output.
"""

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16


def to_float16(model_bytes: bytes) -> bytes:
    """Return an fp16 graph; two calls with equal arguments return equal bytes."""
    model = onnx.load_from_string(model_bytes)
    first = next(number for number, node in enumerate(model.graph.node) if node.op_type == "Conv")
    kept = [node.name for node in model.graph.node[:first]]
    kept += [node.name for node in model.graph.node if node.op_type in ("Sigmoid", "Squeeze")]
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=[], node_block_list=kept)
    onnx.checker.check_model(half, full_check=True)
    return bytes(half.SerializeToString(deterministic=True))

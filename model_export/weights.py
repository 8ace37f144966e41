"""Weights: reads the convolutions of the published ONNX file, in the order of execution."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from model_export.errors import CommandFailed

PUBLISHED_CONVOLUTIONS = 119


class PublishedWeightsInvalid(CommandFailed):
    """A file of published weights does not fit the network."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """One published convolution, with the batch normalisation after it folded in.

    ``kernel`` is float32 (out_ch, in_ch, height, width), ``bias`` float32 (out_ch,).
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


def read_convolutions(path: Path, *, expected: int = PUBLISHED_CONVOLUTIONS) -> Sequence[Convolution]:
    """Read the convolutions of an ONNX file in the order of its nodes.

    ONNX lists nodes topologically, and a traced export lists them in the order of execution.

    Args:
        path: A single ONNX file whose parameters are initializers.
        expected: The required number of convolutions.

    Returns:
        One entry per convolution.

    Raises:
        PublishedWeightsInvalid: The file is not ONNX, or a convolution is missing, has no bias, is not
            float32, or has a bias that does not fit its kernel.
    """
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (OSError, DecodeError) as error:
        raise PublishedWeightsInvalid(f"{path} cannot be read as ONNX: {error}") from error
    parameters = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    if len(nodes) != expected:
        raise PublishedWeightsInvalid(f"{path} holds {len(nodes)} convolutions; the network has {expected}.")
    return [_convolution(node, parameters, path) for node in nodes]


def _convolution(node: onnx.NodeProto, parameters: dict[str, onnx.TensorProto], path: Path) -> Convolution:
    missing = [name for name in node.input[1:] if name not in parameters]
    if len(node.input) != 3 or missing:  # the features, the kernel, the bias
        raise PublishedWeightsInvalid(f"Convolution {node.name!r} of {path} lacks its kernel or its bias.")
    kernel, bias = (numpy_helper.to_array(parameters[name]) for name in node.input[1:])
    if kernel.dtype != np.float32 or bias.dtype != np.float32:
        raise PublishedWeightsInvalid(f"Convolution {node.name!r} of {path} is not float32.")
    if kernel.ndim != 4 or bias.shape != kernel.shape[:1]:
        raise PublishedWeightsInvalid(
            f"Convolution {node.name!r} of {path} has kernel {kernel.shape} and bias {bias.shape}."
        )
    return Convolution(kernel, bias)

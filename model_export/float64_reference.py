"""Float64 reference: evaluates an ONNX file in float64, with an independent implementation.

In float32 two correct runtimes differ because they add in different orders: by up to 7e-5 of full scale on
photographs, and the published files themselves are as far from the exact result of their weights. A tolerance
wide enough for that is too wide to prove equality. In float64 the same rounding is 1e-13, so any real
difference stands out. The evaluator is onnx's reference implementation in numpy: no torch, no ONNX Runtime,
and no dependence on the processor.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

EXACT_SIZE_PX = 64
"""Height and width for runs in float64: the reference is slow, and the proof does not depend on the size."""


class ExactModel:
    """An ONNX model in float64.

    Args:
        model: Any float32 model; it is not changed. The declared input size is not enforced.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        double = onnx.ModelProto()
        double.CopyFrom(model)
        for parameter in double.graph.initializer:
            if parameter.data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(parameter).astype(np.float64)
                parameter.CopyFrom(numpy_helper.from_array(values, parameter.name))
        for node in double.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.DOUBLE
        self._input_name = double.graph.input[0].name
        self._evaluator = ReferenceEvaluator(double)

    def run(self, network_input: NDArray[np.float64] | NDArray[np.uint8]) -> Sequence[NDArray[np.float64]]:
        """Return all outputs for one input, in the order of the file."""
        outputs: list[NDArray[np.float64]] = self._evaluator.run(None, {self._input_name: network_input})
        return outputs

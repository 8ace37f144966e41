"""Node writer: collects new nodes and constants of a graph, with names from the tensor that they serve."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)
Scale = tuple[float, int]
"""Scale and zero point of an 8-bit tensor."""


class NodeWriter:
    """Collects the nodes that replace one node of a graph.

    Args:
        constants: The initialisers of the graph by name; new ones are added.
        prefix: The beginning of every new name.
    """

    def __init__(self, constants: dict[str, onnx.TensorProto], prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants, self._prefix = constants, prefix
        self._names = 0

    def constant(self, values: NDArray[np.generic] | np.generic) -> str:
        """Add a constant, and return its name."""
        name = self._name("constant")
        self._constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def integers(self, *values: int) -> str:
        """Add a constant of int64, for shapes and axes, and return its name."""
        return self.constant(np.array(values, np.int64))

    def scale(self, scale: Scale) -> tuple[str, str]:
        """Return the names of a scale and its zero point; tensors with equal ones share them."""
        scale_name, zero_name = f"scale_{scale[0]!r}", f"zero_{scale[1]}"
        self._constants[scale_name] = numpy_helper.from_array(np.float32(scale[0]), scale_name)
        self._constants[zero_name] = numpy_helper.from_array(np.uint8(scale[1]), zero_name)
        return scale_name, zero_name

    def write(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str | None = None,
        **attributes: int | str | Sequence[int],
    ) -> str:
        """Add a node with one output, and return the output's name."""
        name = output or self._name(operator.lower())
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"{name}_node", **attributes))
        return name

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{self._prefix}_{kind}_{self._names}"

"""Graph session: runs served graphs on the CPU, and compares their maps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engine.models.onnxruntime_loader import onnxruntime

Saliency = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Graph:
    """A served graph in a session of its own, on the CPU."""

    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, model_bytes: bytes) -> "Graph":
        """Load a graph from its bytes; its threads do not spin, so a busy machine is no slower."""
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return cls(onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"]))

    def run(self, network_input: NDArray[np.uint8]) -> Saliency:
        """Return (N, S, S) float32 for (N, S, S, 3) uint8."""
        saliency: Saliency = self.session.run(None, {self.session.get_inputs()[0].name: network_input})[0]
        return saliency


def mean_difference(one: Saliency, other: Saliency) -> float:
    """Return the mean |difference| of two maps of one shape."""
    return float(np.abs(one.astype(np.float64) - other).mean())

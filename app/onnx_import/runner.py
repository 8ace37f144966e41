"""Runner: one graph in ONNX Runtime on the CPU, loaded from bytes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engine.models.onnxruntime_loader import onnxruntime

MAX_REASON_CHARACTERS = 300
Outputs = list[NDArray[np.floating]]


class RunFailed(Exception):
    """The runtime cannot load or run a graph; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Runner:
    """A graph in ONNX Runtime on the CPU."""

    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, model_bytes: bytes) -> "Runner":
        """Load a graph from bytes; the runtime gets no path, so it reads no other file."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        try:
            session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RunFailed(_reason(error)) from error
        return cls(session)

    def run(self, batch: NDArray[np.generic]) -> Outputs:
        """Return all outputs."""
        try:
            outputs: Outputs = self.session.run(None, {self.session.get_inputs()[0].name: batch})
        except Exception as error:
            raise RunFailed(_reason(error)) from error
        return outputs


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_REASON_CHARACTERS else f"{text[:MAX_REASON_CHARACTERS]} …"

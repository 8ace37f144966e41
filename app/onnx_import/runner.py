"""Runner: one graph in ONNX Runtime on the CPU, loaded from bytes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engine.models.onnxruntime_loader import onnxruntime
from app.onnx_import.refusal import RunFailed

MAX_REASON_CHARACTERS = 300
Outputs = list[NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Runner:
    """A graph in ONNX Runtime on the CPU."""

    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, model_bytes: bytes) -> "Runner":
        """Load a graph from bytes; the runtime gets no path, so it reads no other file.

        Its threads do not spin, so a busy machine is no slower, and it writes nothing to the log.

        Raises:
            RunFailed: The runtime cannot load it.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        try:
            session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RunFailed(reason_of(error)) from error
        return cls(session)

    def run(self, batch: NDArray[np.generic]) -> Outputs:
        """Return all outputs for the graph's one input.

        Raises:
            RunFailed: The runtime cannot run it.
        """
        try:
            outputs: Outputs = self.session.run(None, {self.session.get_inputs()[0].name: batch})
        except Exception as error:
            raise RunFailed(reason_of(error)) from error
        return outputs


def reason_of(error: Exception) -> str:
    """Return the runtime's message in one line, of at most about 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_REASON_CHARACTERS else f"{text[:MAX_REASON_CHARACTERS]} …"

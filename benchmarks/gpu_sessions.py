"""GPU sessions: the served graph in ONNX Runtime with every option that may be faster on a card.

Provider options are those of ONNX Runtime's CUDA provider: ``use_tf32`` (on by default) rounds the inputs of
float32 convolutions to 10 bits of mantissa, ``enable_cuda_graph`` replays a captured run, which needs bound
inputs and outputs at fixed addresses and, for several shapes, a number for each (``gpu_graph_id``, not 0).
Everything runs on the CPU too, without those options, so that the code is tested without a card.
"""

import ctypes
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.arrays import NetworkInput, SaliencyMap
from app.engine.models.device import CPU, CUDA
from app.engine.models.manifest import MANIFEST_FILE, Manifest, read_model
from app.engine.models.onnxruntime_loader import onnxruntime

FP16 = "fp16"
FP16_FILE = "model.fp16.onnx"


class Absent(Exception):
    """Something that a step needs is not on this machine; the text says what."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run the network on the card."""

    name: str
    is_fp16: bool = False
    use_tf32: bool = False
    is_bound: bool = False
    has_graphs: bool = False
    prefer_nhwc: bool = False
    conv_search: str = "HEURISTIC"  # as app/engine/models/session.py has it

    def provider_options(self) -> dict[str, str]:
        """Return the options of the CUDA provider."""
        return {
            "cudnn_conv_algo_search": self.conv_search,
            "use_tf32": str(int(self.use_tf32)),
            "prefer_nhwc": str(int(self.prefer_nhwc)),
            "enable_cuda_graph": str(int(self.has_graphs)),
        }


class Runner(Protocol):
    """Runs batches of the served graph."""

    def infer(self, batch: NetworkInput) -> SaliencyMap:
        """Return the saliency float32 (N, S, S) of a batch, uint8 (N, S, S, 3)."""


def open_runner(model_bytes: bytes, configuration: Configuration, device: str) -> "PlainRunner | BoundRunner":
    """Load a model for a configuration on ``cuda`` or ``cpu``.

    Raises:
        Absent: CUDA is wanted and not active in the new session.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers: list[Any] = [CPU]
    if device == "cuda":
        providers.insert(0, (CUDA, configuration.provider_options()))
    session = onnxruntime.InferenceSession(model_bytes, options, providers=providers)
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise Absent(f"{session.get_providers()[0]} is active instead of CUDA")
    if configuration.is_bound or configuration.has_graphs:
        return BoundRunner(session, device, has_graphs=configuration.has_graphs)
    return PlainRunner(session)


@dataclass(frozen=True, slots=True)
class PlainRunner:
    """``run`` with arrays in pageable memory, as the service does it."""

    session: Any

    def infer(self, batch: NetworkInput) -> SaliencyMap:
        """Return the saliency float32 (N, S, S) of a batch, uint8 (N, S, S, 3)."""
        return np.asarray(self.session.run(["saliency"], {"network_input": batch})[0], np.float32)


class BoundRunner:
    """Runs with bound memory, a set for each batch size, and the host's side of it pinned.

    ``why_not_pinned`` is the reason if the memory could not be pinned; the runs then use pageable memory.
    """

    def __init__(self, session: Any, device: str, *, has_graphs: bool) -> None:
        self.session = session
        self.why_not_pinned: str | None = None if device == "cuda" else "the device is the CPU"
        self._device = device
        self._has_graphs = has_graphs
        self._buckets: dict[int, _Bucket] = {}

    def infer(self, batch: NetworkInput) -> SaliencyMap:
        """Return the saliency float32 (N, S, S) of a batch; the next call overwrites it."""
        bucket = self._buckets.get(len(batch))
        if bucket is None:
            bucket = self._buckets[len(batch)] = self._make(batch)
        return bucket.infer(batch)

    def _make(self, batch: NetworkInput) -> "_Bucket":
        host_input, host_output = np.empty_like(batch), np.empty(batch.shape[:3], np.float32)
        if self._device == "cuda":
            try:
                pin(host_input)
                pin(host_output)
            except Absent as error:
                self.why_not_pinned = str(error)
        return _Bucket(self.session, self._device, host_input, host_output, has_graphs=self._has_graphs)


class _Bucket:
    """The bound memory of one batch size. With graphs the output stays on the card until it is copied."""

    def __init__(
        self,
        session: Any,
        device: str,
        host_input: NetworkInput,
        host_output: SaliencyMap,
        *,
        has_graphs: bool,
    ) -> None:
        self._session, self._host_input, self._host_output = session, host_input, host_output
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(host_input, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("network_input", self._input)
        self._options = onnxruntime.RunOptions()
        self._output: Any = None
        shape = list(host_output.shape)
        if has_graphs:
            self._output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)
            self._binding.bind_ortvalue_output("saliency", self._output)
            self._options.add_run_config_entry("gpu_graph_id", str(len(host_input)))
        else:
            self._binding.bind_output("saliency", "cpu", 0, np.float32, shape, host_output.ctypes.data)

    def infer(self, batch: NetworkInput) -> SaliencyMap:
        np.copyto(self._host_input, batch)
        self._input.update_inplace(self._host_input)
        self._session.run_with_iobinding(self._binding, self._options)
        return self._host_output if self._output is None else np.asarray(self._output.numpy(), np.float32)


def pin(array: NDArray[Any]) -> None:
    """Make the memory of an array page-locked, so that the card copies from and to it directly.

    ONNX Runtime's Python API has no pinned memory for its built-in CUDA provider, so this calls the CUDA
    runtime that the provider has loaded (``cudaHostRegister``).

    Raises:
        Absent: The runtime is not loaded, or refuses.
    """
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "libcudart.so" in line}
    if not paths:
        raise Absent("the CUDA runtime (libcudart) is not loaded in this process")
    register = ctypes.CDLL(min(paths)).cudaHostRegister
    register.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
    status = register(array.ctypes.data, array.nbytes, 0)
    if status != 0:
        raise Absent(f"cudaHostRegister returned {status}")


def read_fp16(folder: Path, manifest: Manifest) -> tuple[bytes, str]:
    """Return the fp16 graph of a model and its origin: the exported file, else a conversion in memory.

    Raises:
        Absent: It is not exported, and the packages for the conversion are not installed; or its sha256 is
            not the manifest's.
    """
    described = json.loads((folder / MANIFEST_FILE).read_text()).get("precisions", {}).get(FP16)
    path = folder / (described["file"] if described else FP16_FILE)
    if path.exists():
        model_bytes = path.read_bytes()
        if described and hashlib.sha256(model_bytes).hexdigest() != described["sha256"]:
            raise Absent(f"{path.name} differs from the sha256 in its manifest")
        return model_bytes, "exported"
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise Absent(f"{path.name} is not exported, and cannot be converted here: {error}") from error
    converted = convert_float_to_float16(
        onnx.load_from_string(read_model(folder, manifest)), keep_io_types=True
    )
    return bytes(converted.SerializeToString()), "converted here, all nodes"

"""Session: runs one verified model in ONNX Runtime, and checks its active provider."""

from dataclasses import dataclass, field

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.clock import Clock
from app.engine.models.device import CUDA, Device, Probe
from app.engine.models.manifest import FLOAT32, Manifest
from app.engine.models.onnxruntime_loader import onnxruntime
from app.engine.models.precision import PrecisionChoice
from app.engine.threads.priority import find_threads, lower_priority_of
from app.errors import ModelUnavailable, ProviderUnavailable

# ONNX Runtime has no error class for a lack of memory, and its messages do not always mention memory.
_PROBE_BYTES = 128 * 2**20
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory")


@dataclass(frozen=True, slots=True)
class OnnxRun:
    """One run in ONNX Runtime; implements the batcher's ``Run``."""

    _runtime: onnxruntime.InferenceSession
    _batch: NetworkInput
    # ``terminate`` ends a run within one node of the graph; the options object cannot be reused.
    _options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)

    def result(self) -> SaliencyMap:
        """Run, and return the raw sigmoid saliency float32 (N, S, S).

        Raises:
            MemoryError: The device has too little memory; a smaller batch may fit.
        """
        try:
            (saliency,) = self._runtime.run(["saliency"], {"network_input": self._batch}, self._options)
        except Exception as error:
            if any(words in str(error) for words in _NO_MEMORY) or _is_out_of_memory():
                raise MemoryError from error
            raise
        return np.asarray(saliency, np.float32)

    def abort(self) -> None:
        """Make ``result`` raise soon, from another thread, or at once if it has not started."""
        self._options.terminate = True


@dataclass(frozen=True, slots=True)
class OnnxSession:
    """A model in ONNX Runtime.

    Attributes:
        manifest: The model's manifest.
        provider: The execution provider that is really active.
        choice: The precision of the graph, and why it is served in it.
    """

    manifest: Manifest
    provider: str
    choice: PrecisionChoice
    _runtime: onnxruntime.InferenceSession
    _threads: tuple[int, ...] = ()

    def yield_to_others(self) -> None:
        """Lower the priority of its threads; only on Linux."""
        lower_priority_of(self._threads)

    def prepare_run(self, batch: NetworkInput) -> OnnxRun:
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        return OnnxRun(self._runtime, batch)

    def infer(self, batch: NetworkInput) -> SaliencyMap:
        """Return the raw sigmoid saliency float32 (N, S, S) of ``batch``, uint8 (N, S, S, 3)."""
        return self.prepare_run(batch).result()

    @property
    def size_bytes(self) -> int:
        """The size of the graph's file."""
        precision = self.choice.precision
        return (
            self.manifest.size_bytes
            if precision == FLOAT32
            else self.manifest.precisions[precision].size_bytes
        )

    def warm(self, batch_size: int, clock: Clock) -> tuple[float, float]:
        """Run once at a batch size, because the first run at a size is slow, and time a second run.

        Returns:
            The seconds of one run, and the seconds of the warm-up.
        """
        side = self.manifest.input_size_px
        batch = np.zeros((batch_size, side, side, 3), np.uint8)
        cold_s = clock.now_s()
        self.infer(batch)
        started_s = clock.now_s()
        self.infer(batch)
        return clock.now_s() - started_s, started_s - cold_s


def open_session(
    model_bytes: bytes,
    manifest: Manifest,
    choice: PrecisionChoice,
    *,
    device: Device,
    probe: Probe,
    threads: int,
) -> OnnxSession:
    """Load a verified model.

    Args:
        model_bytes: The ONNX file; its sha256 was checked against the manifest's.
        manifest: The model's manifest.
        choice: The precision of the file, and why.
        device: The device in the settings; ``cuda`` accepts no other provider.
        probe: The providers that this machine can use.
        threads: Cores used inside one run on a CPU; 0 uses all.

    Raises:
        ProviderUnavailable: CUDA was requested and is not really active.
        ModelUnavailable: ONNX Runtime cannot load the model, or its inputs and outputs are not those served.
    """
    if device == "cuda" and CUDA not in probe.providers:
        raise ProviderUnavailable(f"CUDA is asked for, but {probe.why_not_cuda}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # the checks below raise for everything that matters
    # Allocating a run's tensors as one block doubles a warm session's memory on a CPU, and saves no time.
    options.enable_mem_pattern = CUDA in probe.providers
    # Spinning threads use up the cores that decoding and encoding need between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        providers = _with_options(probe.providers)
        runtime, started = find_threads(
            lambda: onnxruntime.InferenceSession(model_bytes, options, providers=providers)
        )
    except Exception as error:
        raise ModelUnavailable(manifest.name, f"ONNX Runtime cannot load it: {error}") from error
    active = runtime.get_providers()[0]
    if device == "cuda" and active != CUDA:
        raise ProviderUnavailable(
            f"CUDA is asked for, but {active} is active: the CUDA or cuDNN libraries do not load. "
            "Install the extra: pip install 'cutout-server[cuda]'."
        )
    _check_contract(runtime, manifest)
    return OnnxSession(manifest, active, choice, runtime, started)


def _with_options(providers: tuple[str, ...]) -> list[str | tuple[str, dict[str, str]]]:
    # By default cuDNN tries every algorithm at each new batch size: seconds where a run takes milliseconds.
    return [(p, {"cudnn_conv_algo_search": "HEURISTIC"}) if p == CUDA else p for p in providers]


def _check_contract(runtime: onnxruntime.InferenceSession, manifest: Manifest) -> None:
    """Refuse a graph that is not ``uint8 (N, S, S, 3) -> float32 (N, S, S)``."""
    side = manifest.input_size_px
    takes = [(i.name, i.type, list(i.shape[1:])) for i in runtime.get_inputs()]
    gives = [(o.name, o.type) for o in runtime.get_outputs()]
    if takes != [("network_input", "tensor(uint8)", [side, side, 3])] or gives != [
        ("saliency", "tensor(float)")
    ]:
        raise ModelUnavailable(
            manifest.name, f"the graph takes {takes} and gives {gives}, not the served contract"
        )


def _is_out_of_memory() -> bool:
    """Return whether the process cannot allocate as much memory as a run takes."""
    try:
        bytearray(_PROBE_BYTES)
    except MemoryError:
        return True
    return False

"""Device: finds the execution providers that can really be used, and the reason why CUDA cannot.

If a library is missing, ONNX Runtime falls back to the CPU and only prints a line on stderr. So this module
probes the driver first, and ``app/engine/models/session.py`` checks the active provider of each new session;
neither result is trusted alone.
"""

import ctypes
import sys
from dataclasses import dataclass
from typing import Literal

from app.engine.models.onnxruntime_loader import onnxruntime

Device = Literal["auto", "cuda", "cpu"]
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Probe:
    """The providers to request, best first, and the reason why CUDA is not among them."""

    providers: tuple[str, ...]
    why_not_cuda: str | None


def probe(device: Device) -> Probe:
    """Return the providers to try on this machine for the requested ``device``."""
    on_cpu = tuple(p for p in (OPENVINO, CPU) if p in onnxruntime.get_available_providers())
    if device == "cpu":
        return Probe(on_cpu, "the device is set to cpu")
    why_not_cuda = why_cuda_is_out_of_reach()
    if why_not_cuda is not None:
        return Probe(on_cpu, why_not_cuda)
    onnxruntime.preload_dlls()  # never raises; if a library fails to load, the active provider is not CUDA
    return Probe((CUDA, CPU), None)


def why_cuda_is_out_of_reach() -> str | None:
    """Return why no CUDA session can be created here, or ``None`` if no obstacle is known."""
    if CUDA not in onnxruntime.get_available_providers():
        return f"this build of onnxruntime ({onnxruntime.__version__}) has no CUDA; install onnxruntime-gpu"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "the NVIDIA driver library (libcuda) is not on this machine, or not in this container"
    status = driver.cuInit(0)
    if status != 0:
        return f"the NVIDIA driver does not start (cuInit returned {status})"
    count = ctypes.c_int()
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return "the NVIDIA driver sees no device"
    return None

"""Device: which execution provider can really be used, and the reason why CUDA cannot.

A missing library makes ONNX Runtime fall back to the CPU with no more than a line on stderr.
So the driver is asked first, and after a session is made its active provider is looked at
(``app/engine/models/session.py``); neither answer is taken on trust.
"""

import ctypes
import os
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
    """Which providers to ask for, best first, and why CUDA is not among them."""

    providers: tuple[str, ...]
    why_not_cuda: str | None


def probe(device: Device) -> Probe:
    """Return the providers worth trying on this machine for the wanted ``device``."""
    on_cpu = tuple(p for p in (OPENVINO, CPU) if p in onnxruntime.get_available_providers())
    if device == "cpu":
        return Probe(on_cpu, "the device is set to cpu")
    why_not_cuda = why_cuda_is_out_of_reach()
    if why_not_cuda is not None:
        return Probe(on_cpu, why_not_cuda)
    onnxruntime.preload_dlls()  # never raises; what it could not load shows in the active provider
    return Probe((CUDA, CPU), None)


def why_cuda_is_out_of_reach() -> str | None:
    """Return why no CUDA session can be made here, or ``None`` if nothing speaks against it."""
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


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

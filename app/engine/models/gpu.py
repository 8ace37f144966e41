"""GPU: reads how much GPU memory all processes together use, from NVML, the driver's management library.

NVML numbers devices by their place in the machine, CUDA by what ``CUDA_VISIBLE_DEVICES`` shows to this
process; so the device is looked up by its PCI bus address. ONNX Runtime uses CUDA's first device.
"""

import ctypes
from typing import Any

BUS_ID_LENGTH = 32


class GpuUnreadable(Exception):
    """The GPU's memory cannot be read; the message is the reason."""


class GpuMemory:
    """The memory of the device on which networks run, in bytes."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def used_bytes(self) -> float:
        """Return the memory in use; NaN if the driver does not report it."""
        return self._read("used")

    def total_bytes(self) -> float:
        """Return the memory of the device; NaN if the driver does not report it."""
        return self._read("total")

    def _read(self, member: str) -> float:
        try:
            return float(getattr(self._library.nvmlDeviceGetMemoryInfo(self._handle), member))
        except self._library.NVMLError:
            return float("nan")


def open_gpu_memory() -> GpuMemory:
    """Return the memory of CUDA's first device.

    Raises:
        GpuUnreadable: There is no driver, no device, or no management library.
    """
    try:
        import pynvml
    except ImportError as error:
        raise GpuUnreadable("nvidia-ml-py is not installed; the extra `cuda` installs it") from error
    try:
        pynvml.nvmlInit()
        return GpuMemory(pynvml, pynvml.nvmlDeviceGetHandleByPciBusId(_bus_id_of_first()))
    except pynvml.NVMLError as error:
        raise GpuUnreadable(str(error)) from error


def _bus_id_of_first() -> bytes:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise GpuUnreadable("the NVIDIA driver library (libcuda) cannot be loaded") from error
    text, device = ctypes.create_string_buffer(BUS_ID_LENGTH), ctypes.c_int()
    for status in (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetPCIBusId(text, BUS_ID_LENGTH, device),
    ):
        if status != 0:
            raise GpuUnreadable(f"the NVIDIA driver does not report its first device (error {status})")
    return text.value

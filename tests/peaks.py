"""Peaks: measures the peak memory of a call, above the memory in use before it."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the peak memory of a call: the larger of tracemalloc's and the resident memory's.

    NumPy reports all of its arrays to tracemalloc. OpenCV reports only those that it returns; its internal
    buffers show in the resident memory.
    """
    before = _status_bytes("VmRSS")
    is_peak_reset = _reset_peak()
    tracemalloc.start()
    try:
        result = call()
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del result
    return max(traced, _status_bytes("VmHWM") - before if is_peak_reset else 0)


def _reset_peak() -> bool:
    try:
        _REFS.write_text("5")
    except OSError:
        return False
    return True


def _status_bytes(name: str) -> int:
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024

"""Peaks: how many bytes a call takes beside what was there before."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most that a call held at once: by tracemalloc, or by resident memory where that is more.

    NumPy reports its arrays to tracemalloc, OpenCV only what it returns: its own buffers show in memory.
    """
    before = _status_bytes("VmRSS")
    can_forget = _forget_peak()
    tracemalloc.start()
    try:
        held = call()
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del held
    return max(traced, _status_bytes("VmHWM") - before if can_forget else 0)


def _forget_peak() -> bool:
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

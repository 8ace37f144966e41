"""Memory: how much is available for pictures, and how freed memory is returned to the system.

``app/pipeline/footprint.py`` counts the maximum that a request may hold, so the process stays below
``base + budget``, whatever mixture of pictures arrives.
"""

import contextlib
import ctypes
import mmap
from pathlib import Path

MIN_BYTES = 128 * 2**20
"""Memory for pictures however small the budget is: enough for one picture of a megapixel."""

DEFAULT_SHARE = 0.5
"""Share of the machine's memory that is the budget where the operator sets none."""

MAPPED_FROM_BYTES = 1 << 20
"""Arrays of this size or more are mapped on pages of their own, which are unmapped with them."""
MAX_HEAPS = 2
KEPT_BYTES = 8 << 20
"""Free memory that a heap keeps. With 128 KiB, the default, it returns a tile's temporaries after each tile,
and the system zeroes the same pages for the next one: a quarter of the time of matting."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
MACHINE = Path("/proc/meminfo")
PROCESS = Path("/proc/self/statm")


def machine_memory_bytes(cgroup_limit: Path = CGROUP_LIMIT, machine: Path = MACHINE) -> int | None:
    """Return the memory this process may use: the smaller of the container's limit and the machine's.

    ``None`` if neither is known.
    """
    found = [_cgroup_bytes(cgroup_limit), _meminfo_bytes(machine)]
    return min((size for size in found if size is not None), default=None)


def resident_bytes(process: Path = PROCESS) -> int | None:
    """Return the memory that this process has now; ``None`` if that is not known."""
    try:
        return int(process.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        return None


def for_pictures(budget_bytes: int, upload_bytes: int) -> int:
    """Return the bytes that a budget leaves for pictures after ``upload_bytes`` of uploads."""
    return max(MIN_BYTES, budget_bytes - upload_bytes)


def _cgroup_bytes(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" is no limit


def _meminfo_bytes(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    total = next((line for line in lines if line.startswith("MemTotal:")), None)
    return int(total.split()[1]) * 1024 if total else None


def tune_allocator() -> None:
    """Make glibc return arrays to the system when they are freed, for the lifetime of the process.

    By default glibc raises the threshold for this to 32 MiB, and keeps a heap for each of many threads:
    after a thousand pictures of mixed sizes a process held 880 MiB more than before, in fragments.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such library, or no such call
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(_M_ARENA_MAX, MAX_HEAPS)


def give_back_freed_memory() -> None:
    """Return freed memory that the allocator still holds to the system; only glibc has a call for it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such library, or no such call
        ctypes.CDLL(None).malloc_trim(0)

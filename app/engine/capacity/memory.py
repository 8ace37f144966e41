"""Memory: how much is available for pictures, and how freed memory is returned to the system.

``app/pipeline/footprint.py`` counts the maximum that a request may hold, so the process stays below
``base + budget``, whatever mixture of pictures arrives.
"""

import contextlib
import ctypes
import os
from pathlib import Path

from app.engine.capacity.cgroup import Limit, memory_limit

MIN_BYTES = 128 * 2**20
"""Memory for pictures however small the budget is: enough for one picture of a megapixel."""

DEFAULT_SHARE = 0.5
"""Share of the available memory that is the budget where the operator sets none; the rest is for models that
are loaded on request, and for the system's cache of files."""

SPARE_BYTES, SPARE_SHARE = 48 * 2**20, 1 / 16
"""Memory for what is not counted: fragments of the heap, connections, the supervisor."""

UPLOAD_SHARE, MAX_UPLOAD_BYTES = 1 / 8, 256 * 2**20
"""Of the budget, for the uploads in flight."""

MAPPED_FROM_BYTES = 4 << 20
"""Arrays of this size or more are mapped on pages of their own, which are unmapped with them. The system
zeroes every new page, and only arrays of 4 MiB or more get huge ones from NumPy."""
MAX_HEAPS = 2
KEPT_BYTES = 32 << 20
"""Free memory at the end of a heap that it keeps until the server tidies up. With 8 MiB, a matted cutout of 1
megapixel waited for 11,000 new pages, which was a sixth of its processor time."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

MEMINFO = "proc/meminfo"


def available_memory(root: Path = Path("/")) -> Limit | None:
    """Return the memory this process may use, and the file that says so; ``None`` if it is unknown.

    It is the lowest limit of a cgroup, or the machine's memory; ``root`` is that of all paths.
    """
    machine_bytes = _meminfo_bytes(root / MEMINFO)
    machine = None if machine_bytes is None else Limit(machine_bytes, f"/{MEMINFO}")
    found = [limit for limit in (memory_limit(root), machine) if limit is not None]
    return min(found, key=lambda limit: limit.value, default=None)


def resident_bytes(pid: int | None = None, root: Path = Path("/")) -> int:
    """Return the memory that a process holds, this one by default; 0 if it is unknown."""
    try:
        pages = (root / "proc" / str(pid or "self") / "statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def default_budget(available_bytes: int, held_bytes: int) -> int:
    """Return the memory for the requests in flight where the operator sets none.

    Args:
        available_bytes: The memory that the process may use.
        held_bytes: What it holds without any request.
    """
    spare_bytes = max(SPARE_BYTES, int(SPARE_SHARE * available_bytes))
    return max(0, min(int(DEFAULT_SHARE * available_bytes), available_bytes - held_bytes - spare_bytes))


def for_uploads(budget_bytes: int, upload_bytes: int) -> int:
    """Return the bytes of a budget for the uploads in flight, where the operator sets none.

    Args:
        budget_bytes: The memory for the requests in flight.
        upload_bytes: The limit of one upload; one always fits, unless it takes more than half of the budget.
    """
    at_least = min(upload_bytes, budget_bytes // 2)
    return max(1, at_least, min(MAX_UPLOAD_BYTES, int(UPLOAD_SHARE * budget_bytes)))


def for_pictures(budget_bytes: int, upload_bytes: int) -> int:
    """Return the bytes that a budget leaves for pictures after ``upload_bytes`` of uploads."""
    return max(MIN_BYTES, budget_bytes - upload_bytes)


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

"""Heap: on a CPU, freed arrays stay with the process, as the next step of a training wants them again.

The opposite of what the service asks of glibc (``app/engine/capacity/memory.py``): left alone, a training
gives hundreds of megabytes back to the system in each step and has them cleared by the kernel in the
next, which takes U²-Net† a third of its time (``benchmarks/training_heap.py``).
"""

import contextlib
import ctypes

TRIM_FROM_BYTES = 2**31 - 1
GROW_BY_BYTES = 2**28
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let glibc take arrays from its heap alone, and not shrink it, for as long as the process lives.

    Does nothing where there is no such library. The process holds up to a third more at its peak.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)  # no array has pages of its own
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_FROM_BYTES)
        libc.mallopt(_M_TOP_PAD, GROW_BY_BYTES)

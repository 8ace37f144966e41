"""Malloc: keeps freed arrays in the process, because the next training iteration allocates them again.

This is for training on a CPU, and the opposite of how the service configures glibc
(``app/engine/capacity/memory.py``). By default, a training run returns hundreds of megabytes to the system in
each iteration, and the kernel clears them again for the next one, which takes a third of the time of U²-Net†
(``benchmarks/training_heap.py``).
"""

import contextlib
import ctypes

TRIM_THRESHOLD_BYTES = 2**31 - 1
TOP_PAD_BYTES = 2**28
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """Make glibc allocate arrays only from its heap, and never shrink the heap while the process runs.

    Does nothing without glibc. The peak memory of the process grows by up to a third.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)  # no array is mapped separately
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
        libc.mallopt(_M_TOP_PAD, TOP_PAD_BYTES)

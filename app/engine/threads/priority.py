"""Priority: gives the event loop priority over the threads that process pictures.

While all cores are busy, a thread that wakes up waits until a running thread has used up its slice. The event
loop needs a core for fractions of a millisecond, pictures need one for hundreds of milliseconds, and every
request waits for the loop. So the loop requests short slices, which Linux schedules sooner, and the other
threads get a higher niceness.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys
import threading

NICENESS = 10
"""Niceness of the threads that process pictures: each weighs about a tenth of the event loop. Their weights
relative to each other, and to programs in other containers, do not change."""

SHORT_SLICE_NS = 100_000
"""The slice that the event loop requests: the minimum of Linux since 6.12. Older kernels ignore it."""
_DEFAULT_SLICE_NS = 0

_SETATTR = {"x86_64": 314, "aarch64": 274}
_ATTR = struct.Struct("IIQiIQQQII")  # struct sched_attr of linux/sched/types.h
_SCHED_OTHER = 0


def lower_priority() -> None:
    """Lower the priority of the calling thread and of threads it starts later; only on Linux."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        _request_slice(_DEFAULT_SLICE_NS)


def favour_latency() -> None:
    """Give the calling thread, and threads it starts later, short slices on a core sooner; only on Linux."""
    if sys.platform == "linux":
        _request_slice(SHORT_SLICE_NS)


def _request_slice(length_ns: int) -> None:
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    attributes = _ATTR.pack(_ATTR.size, _SCHED_OTHER, 0, nice, 0, length_ns, 0, 0, 0, 0)
    # If the kernel, the C library or a container's seccomp profile refuses, the slice stays as it is.
    with contextlib.suppress(KeyError, OSError, AttributeError):
        ctypes.CDLL(None).syscall(_SETATTR[platform.machine()], 0, attributes, 0)

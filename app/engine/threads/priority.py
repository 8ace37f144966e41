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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

NICENESS = 10
"""Niceness of the threads that process pictures: each weighs about a tenth of the event loop. Their weights
relative to each other, and to programs in other containers, do not change."""
LONG_RUN_NICENESS = 19
"""Niceness of the threads of long runs: each weighs about an eighth of the others that process pictures."""
_MARK = NICENESS + 1
"""Niceness that only threads started within ``find_threads`` have, until their priority is lowered."""

SHORT_SLICE_NS = 100_000
"""The slice that the event loop requests: the minimum of Linux since 6.12. Older kernels ignore it."""
_DEFAULT_SLICE_NS = 0

_SETATTR = {"x86_64": 314, "aarch64": 274}
_ATTR = struct.Struct("IIQiIQQQII")  # struct sched_attr of linux/sched/types.h
_SCHED_OTHER = 0


def lower_priority(niceness: int = NICENESS) -> None:
    """Lower the priority of the calling thread and of threads it starts later; only on Linux."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        _request_slice(_DEFAULT_SLICE_NS)


def lower_priority_of(threads: Iterable[int]) -> None:
    """Give other threads the priority of long runs; threads that have ended are skipped. Only on Linux."""
    for thread in threads:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, LONG_RUN_NICENESS)


def find_threads(create: Callable[[], T]) -> tuple[T, tuple[int, ...]]:
    """Call ``create`` on a thread of its own, and find the threads that it starts and that go on.

    A library starts its threads without telling their ids; but a new thread has the niceness of the one that
    starts it, and no other thread of this process has ``_MARK``. One call at a time.

    Returns:
        What ``create`` returned, and the ids of the threads in the operating system; none if not on Linux.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="cutout-create") as pool:
        if sys.platform != "linux":
            return pool.submit(create).result(), ()
        before = _marked_threads() | {pool.submit(threading.get_native_id).result()}
        pool.submit(lower_priority, _MARK).result()
        created = pool.submit(create).result()
        return created, tuple(sorted(_marked_threads() - before))


def _marked_threads() -> set[int]:
    found: set[int] = set()
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(OSError):  # it has just ended
            if os.getpriority(os.PRIO_PROCESS, thread) == _MARK:
                found.add(thread)
    return found


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

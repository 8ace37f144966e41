"""Priority: threads that work on pictures step back behind the event loop.

Where all cores are busy, a thread that wakes up waits until one of those that run has had its slice. The
event loop needs a core for fractions of a millisecond, pictures need one for hundreds, and everybody waits
for the loop. So it asks for short slices, which Linux gives sooner, and the others weigh less.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys
import threading

NICENESS = 10
"""Of the threads that work on pictures: beside the event loop each weighs about a tenth. Between themselves,
and beside other programs in other containers, nothing changes."""

SHORT_SLICE_NS = 100_000
"""What the event loop asks for, the least that Linux grants (since 6.12; before, it takes no notice)."""
_USUAL_SLICE = 0

_SETATTR = {"x86_64": 314, "aarch64": 274}
_ATTR = struct.Struct("IIQiIQQQII")  # struct sched_attr of linux/sched/types.h
_SCHED_OTHER = 0


def lower_priority() -> None:
    """Lower the priority of the calling thread and of those it will start; nothing where only Linux can."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        _ask_for_slices(_USUAL_SLICE)


def favour_latency() -> None:
    """Let the calling thread, and those it will start, wait less for a core, and hold it for less long."""
    if sys.platform == "linux":
        _ask_for_slices(SHORT_SLICE_NS)


def _ask_for_slices(length_ns: int) -> None:
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    attributes = _ATTR.pack(_ATTR.size, _SCHED_OTHER, 0, nice, 0, length_ns, 0, 0, 0, 0)
    # A kernel, a library or a sandbox that refuses leaves things as they are.
    with contextlib.suppress(KeyError, OSError, AttributeError):
        ctypes.CDLL(None).syscall(_SETATTR[platform.machine()], 0, attributes, 0)

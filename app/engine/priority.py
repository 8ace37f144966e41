"""Priority: threads that work on pictures step back behind the event loop.

Where all cores are busy, a thread that wakes up waits until one of those that run has had its slice. The
event loop needs a core for fractions of a millisecond, pictures need one for hundreds, and everybody waits
for the loop.
"""

import os
import sys
import threading

NICENESS = 10
"""Of the threads that work on pictures: beside the event loop each weighs about a tenth. Between themselves,
and beside other programs in other containers, nothing changes."""


def step_back() -> None:
    """Lower the priority of the calling thread and of those it will start; nothing where only Linux can."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

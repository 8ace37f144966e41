"""Stopping: the signals that tell a server to stop, and a command."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


def on_stop(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call ``handler`` for a supervisor's signal, for Ctrl-C, and for the end of the terminal.

    Where the end of the terminal is to be ignored, as ``nohup`` has it, it still is.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without another word, whatever its threads do."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

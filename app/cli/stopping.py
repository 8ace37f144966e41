"""Stopping: signal handlers of servers and commands."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


def on_stop(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call ``handler`` on SIGTERM, on SIGINT (Ctrl-C), and on SIGHUP (the terminal was closed).

    SIGHUP stays ignored if it is already, as under ``nohup``.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def ignore_stops() -> None:
    """Ignore all signals of ``on_stop`` from now on, for a process that has finished and exits.

    While the interpreter ends it gives Python's handlers up, and a signal would kill the process with a code
    that looks like a failure.
    """
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@contextmanager
def cleans_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block by an exception, as Ctrl-C does, so that it cleans up."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Exit at once on Ctrl-C, without a message and without waiting for threads."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

"""CLI: ``cutout serve``, ``remove``, ``models``, ``keys`` and ``doctor``; see ``commands.py``.

Light on purpose: what the commands import takes a second or so, and a signal may come before that is over.
"""

import os
import signal
import sys

from app.cli.stopping import ends_at_once, on_stop

__all__ = ["main"]


def main() -> None:
    """Run the command line; a server that is told to stop while it starts has nothing to finish, and ends."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # a worker begins with it blocked
    if sys.argv[1:2] == ["serve"]:
        on_stop(lambda *_: os._exit(0))
        from app.cli.commands import run
    else:
        with ends_at_once():
            from app.cli.commands import run
    run()

"""CLI: ``cutout serve``, ``remove``, ``models``, ``keys`` and ``doctor``; see ``commands.py``.

This module imports little: the imports of the commands take about a second, and a signal may arrive before
they are complete.
"""

import os
import signal
import sys

from app.cli.stopping import ends_at_once, on_stop
from app.cli.streams import prepare_streams

__all__ = ["main"]


def main() -> None:
    """Run the command line; a signal during the imports of a server ends it at once."""
    prepare_streams()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # the supervisor blocks it
    if sys.argv[1:2] == ["serve"]:
        on_stop(lambda *_: os._exit(0))
        from app.cli.commands import run
    else:
        with ends_at_once():
            from app.cli.commands import run
    run()

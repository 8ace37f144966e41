"""Streams: replaces standard streams that the parent process has closed.

Otherwise the next file that is opened would get the number of such a stream, and what a library prints would
be written into it.
"""

import os
import sys


def reopen_closed_streams() -> None:
    """Open the null device for each closed stream; writing to a closed standard output still fails."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        # Not for writing: a result must not get lost without an error.
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

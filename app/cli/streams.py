"""Streams: prepares the standard streams, and replaces those that the parent process has closed.

Otherwise the next file that is opened would get the number of such a stream, and what a library prints would
be written into it.
"""

import io
import os
import sys


def prepare_streams() -> None:
    """Open the null device for each closed stream; writing to a closed standard output still fails.

    Characters that the encoding of the standard output lacks become question marks.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        # Not for writing: a result must not get lost without an error.
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # such as the bars of the doctor, in a locale without them
        sys.stdout.reconfigure(errors="replace")

"""Child: builds one graph in a process of its own, with limits of memory and time.

A file may be made to crash the runtime, to need all memory or to run for hours. The command that imports it
must refuse it with a sentence, so the work is done in a child process, which can fail alone.

The child reads its request from standard input as JSON, writes the files of the model into a staging folder,
and replies with one JSON object on standard output.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.engine.capacity.memory import available_memory
from app.onnx_import.refusal import GraphRefused

TIMEOUT_S = 1800.0
"""For a network of a gigabyte on a slow machine."""
MEMORY_SHARE = 0.8
"""Of the machine's memory; more would let the system kill another process."""
PREVIEW_FILE = "preview.png"
# Without -P a folder named app, where the command is run, would be taken for this package.
COMMAND = (sys.executable, "-P", "-m", "app.onnx_import.child")
NO_ONNX = (
    "This command needs the package onnx; install it: pip install 'cutout-server[models]' "
    "(with uvx: uvx --with onnx --from …)"
)


def build_in_child(
    order: dict[str, Any],  # Any: JSON
    staging: Path,
    *,
    timeout_s: float = TIMEOUT_S,
    command: Sequence[str] = COMMAND,
) -> None:
    """Build a graph in a child process; the files of the model are then in ``staging``.

    Args:
        order: The members of ``Order`` in ``work.py``, but the staging folder.
        staging: An empty folder.
        timeout_s: The time after which the child is killed.
        command: Starts the child.

    Raises:
        GraphRefused: The file cannot become a model, or the child did not survive it.
        OSError: The file cannot be read.
    """
    message = json.dumps({**order, "staging": str(staging)})
    try:
        finished = subprocess.run(  # noqa: S603 -- fixed
            command, input=message, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise GraphRefused(f"The graph takes longer than {timeout_s:.0f} s to load and run.") from error
    try:
        reply = json.loads(finished.stdout)
    except ValueError as error:
        raise GraphRefused(_death(finished.returncode)) from error
    if "refused" in reply:
        raise GraphRefused(str(reply["refused"]))
    if "failed" in reply:
        raise OSError(*reply["failed"])


def _death(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "The process that ran the graph was killed; the graph may need more memory than there is."
    if returncode < 0:
        return f"The graph crashes the runtime ({signal.Signals(-returncode).name})."
    return "The process that ran the graph ended without a result; this is a bug, or memory is short."


def main() -> None:
    """Build the graph of the request on standard input."""
    _limit_memory()
    order = json.load(sys.stdin)
    # What libraries print must not mix with the reply.
    reply_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with reply_to:
        json.dump(_carry_out(order), reply_to)


def _limit_memory() -> None:
    available = available_memory()
    if available is None or sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = int(MEMORY_SHARE * available.value)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _carry_out(order: dict[str, Any]) -> dict[str, Any]:
    try:
        from app.onnx_import.work import carry_out
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "google", "google.protobuf", "ml_dtypes"):
            raise
        return {"refused": NO_ONNX}
    try:
        carry_out(order)
    except GraphRefused as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": "The graph needs more memory than this machine has."}
    except OSError as error:
        return {"failed": [error.errno, error.strerror or str(error), error.filename]}
    return {}


if __name__ == "__main__":
    main()

"""Backgroundremover: its own HTTP server, in PyTorch, with the published weights converted to its format."""

import os
import subprocess

from benchmarks.client import Shot
from benchmarks.peers.peer import PROGRAMS, Launch, Peer, form
from benchmarks.report import ROOT


def _prepare(launch: Launch) -> None:
    """Write ``~/.u2net/NAME.pth`` in the home that the server gets."""
    folder = launch.scratch / ".u2net"
    folder.mkdir()
    program = str(PROGRAMS / "backgroundremover_weights.py")
    subprocess.run(
        (
            str(launch.python),
            program,
            str(launch.weights_file),
            launch.model,
            str(folder / f"{launch.model}.pth"),
        ),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )


def _request(operation: str, model: str, upload: bytes) -> Shot | None:
    if operation == "mask":
        return None
    fields = {"a": "true"} if operation == "matted" else {}
    return form(f"/?model={model}", fields, file_field="file", upload=upload)


PEER = Peer(
    name="backgroundremover",
    # torch first and with its torchvision: else pip takes a newer one with gigabytes of CUDA libraries.
    requirements=(
        "torch==2.13.0",
        "torchvision==0.28.0 backgroundremover==0.4.5",
        "onnx onnxruntime protobuf",
    ),
    description="Flask and waitress, PyTorch; matting: closed form by PyMatting, at 1,000 pixels",
    command=lambda launch: (
        *(str(launch.python), str(PROGRAMS / "backgroundremover_server.py"), "--addr", "127.0.0.1"),
        *("--port", str(launch.port)),
    ),
    environment=lambda launch: {"HOME": str(launch.scratch)},
    prepare=_prepare,
    ready_path="/",
    ready_status=400,  # a GET without a URL
    request=_request,
)

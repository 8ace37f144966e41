"""Plain: the server of forty lines that an engineer writes first: FastAPI, ONNX Runtime and Pillow."""

from benchmarks.client import Shot
from benchmarks.peers.peer import PROGRAMS, Peer, form


def program_request(operation: str, _: str, upload: bytes) -> Shot | None:
    """Return the request of a program of this folder; they have no matting."""
    return None if operation == "matted" else form(f"/{operation}", {}, file_field="file", upload=upload)


PEER = Peer(
    name="plain",
    requirements=("fastapi uvicorn python-multipart onnxruntime pillow numpy",),
    description="FastAPI's pool of threads, ONNX Runtime and Pillow with their defaults; no matting",
    command=lambda launch: (
        *(str(launch.python), str(PROGRAMS / "fastapi_server.py")),
        *(str(launch.weights_file), str(launch.port)),
    ),
    ready_path="/health",
    request=program_request,
)

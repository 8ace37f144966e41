"""LitServe: Lightning's server, with a batch of at most 8 pictures."""

from benchmarks.client import Shot
from benchmarks.peers.peer import PROGRAMS, Peer, form


def _request(operation: str, _: str, upload: bytes) -> Shot | None:
    if operation == "matted":
        return None
    return form("/predict", {"operation": operation}, file_field="file", upload=upload)


PEER = Peer(
    name="litserve",
    requirements=("litserve python-multipart onnxruntime pillow numpy",),
    description="one inference process, `max_batch_size=8`, `batch_timeout=0.01`; no matting",
    command=lambda launch: (
        *(str(launch.python), str(PROGRAMS / "litserve_server.py")),
        *(str(launch.weights_file), str(launch.port)),
    ),
    ready_path="/health",
    request=_request,
)

"""Ray Serve: ``@serve.batch`` with at most 8 pictures, behind a deployment that decodes and encodes."""

from benchmarks.peers.peer import PROGRAMS, Peer
from benchmarks.peers.plain import program_request

PEER = Peer(
    name="ray_serve",
    requirements=("ray[serve] python-multipart onnxruntime pillow numpy",),
    description="two deployments of one core, `@serve.batch(max_batch_size=8)`; no matting",
    command=lambda launch: (
        *(str(launch.python), str(PROGRAMS / "ray_server.py")),
        *(str(launch.weights_file), str(launch.port)),
    ),
    environment=lambda _: {"RAY_USAGE_STATS_ENABLED": "0"},
    ready_path="/health",
    request=program_request,
)

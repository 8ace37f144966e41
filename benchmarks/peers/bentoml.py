"""BentoML: a service with an adaptive batch of at most 8 pictures, behind one that decodes and encodes."""

from benchmarks.peers.peer import PROGRAMS, Launch, Peer
from benchmarks.peers.plain import program_request


def _environment(launch: Launch) -> dict[str, str]:
    return {
        "U2NET_WEIGHTS": str(launch.weights_file),
        "BENTOML_HOME": str(launch.scratch / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }


PEER = Peer(
    name="bentoml",
    requirements=("bentoml onnxruntime pillow numpy",),
    description="two services, `batchable=True`, `max_batch_size=8`; no matting",
    command=lambda launch: (
        *(launch.script("bentoml"), "serve", "bentoml_service:Cutout", "--working-dir", str(PROGRAMS)),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
    ),
    environment=_environment,
    ready_path="/readyz",
    request=program_request,
)

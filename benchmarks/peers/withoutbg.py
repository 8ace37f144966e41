"""withoutBG: its SDK for local use, behind a small server; it has a network of its own."""

from benchmarks.peers.peer import PROGRAMS, Launch, Peer
from benchmarks.peers.plain import program_request


def _environment(launch: Launch) -> dict[str, str]:
    return {"HF_HOME": str(launch.scratch / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1"}


PEER = Peer(
    name="withoutbg",
    requirements=("withoutbg==1.3.0 fastapi uvicorn python-multipart",),
    description="its SDK behind FastAPI, with its own network, which it downloads when it starts; no matting",
    command=lambda launch: (*(str(launch.python), str(PROGRAMS / "withoutbg_server.py"), str(launch.port)),),
    environment=_environment,
    ready_path="/health",
    request=program_request,
)

"""Cutout: this project's server, started as its README describes."""

from benchmarks.client import Shot
from benchmarks.peers.peer import Launch, Peer
from benchmarks.report import ROOT

PATHS = {
    "cutout": "/v1/cutout?matting=none",
    "mask": "/v1/mask",
    "matted": "/v1/cutout?matting=fast",
}


def _environment(launch: Launch) -> dict[str, str]:
    settings = {
        "CUTOUT_DEVICE": "cpu",
        "CUTOUT_MODELS_DIR": str(launch.models_dir),
        "CUTOUT_WEB__METRICS_PORT": "0",
        "PYTHONPATH": str(ROOT),
    }
    return settings | ({"CUTOUT_PRECISION": launch.precision} if launch.precision else {})


PEER = Peer(
    name="cutout",
    requirements=(),
    description="this server; matting: guided filter and foreground colours (`fast`)",
    command=lambda launch: (
        *(launch.script("cutout"), "serve", "--host", "127.0.0.1"),
        *("--port", str(launch.port), "--model", launch.model),
    ),
    environment=_environment,
    ready_path="/readyz",
    request=lambda operation, _, upload: Shot(PATHS[operation], upload),
)

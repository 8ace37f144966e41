"""Snipbg: the HTTP API of snipbg, ``snipbg serve``."""

from benchmarks.client import Shot
from benchmarks.peers.peer import Launch, Peer, form, link_weights

FIELDS = {"cutout": {}, "mask": {"only_mask": "true"}, "matted": {"refine": "true"}}


def _environment(launch: Launch) -> dict[str, str]:
    return {
        "SNIPBG_HOME": str(launch.scratch),
        "SNIPBG_DEFAULT_MODEL": launch.model,
        "SNIPBG_PRELOAD": "1",
    }


def _request(operation: str, model: str, upload: bytes) -> Shot:
    fields = {"model": model, **FIELDS[operation]}
    return form("/remove-background", fields, file_field="image", upload=upload)


PEER = Peer(
    name="snipbg",
    requirements=("snipbg[api]==2.0.0",),
    description="FastAPI, at most two pictures at once; `refine` blurs the mask's edge, no matting",
    command=lambda launch: (
        *(launch.script("snipbg"), "serve", "--host", "127.0.0.1"),
        *("--port", str(launch.port)),
    ),
    environment=_environment,
    prepare=lambda launch: link_weights(launch, launch.scratch),
    ready_path="/health",
    request=_request,
)

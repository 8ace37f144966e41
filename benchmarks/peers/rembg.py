"""Rembg: the server of rembg, ``rembg s``."""

from benchmarks.client import Shot
from benchmarks.peers.peer import Launch, Peer, form

FIELDS = {"cutout": {}, "mask": {"om": "true"}, "matted": {"a": "true"}}


def _request(operation: str, model: str, upload: bytes) -> Shot:
    return form("/api/remove", {"model": model, **FIELDS[operation]}, file_field="file", upload=upload)


def _environment(launch: Launch) -> dict[str, str]:
    return {"U2NET_HOME": str(launch.weights), "MODEL_CHECKSUM_DISABLED": "1", "BROWSER": "true"}


def rembg_peer(name: str, requirement: str) -> Peer:
    """Return a release of rembg as a peer."""
    return Peer(
        name=name,
        requirements=(requirement,),
        description="FastAPI, a thread of the pool for each request; matting: closed form by PyMatting",
        command=lambda launch: (
            *(launch.script("rembg"), "s", "-h", "127.0.0.1"),
            *("-p", str(launch.port), "--no-ui"),
        ),
        environment=_environment,
        ready_path="/openapi.json",
        request=_request,
    )


PEER = rembg_peer("rembg", "rembg[cpu,cli]==2.0.86")

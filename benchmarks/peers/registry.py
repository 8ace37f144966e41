"""Registry: all peers, in the order of the report."""

from collections.abc import Mapping

from benchmarks.peers import (
    backgroundremover,
    batchroom,
    bentoml,
    cutout,
    litserve,
    plain,
    ray_serve,
    rembg,
    snipbg,
    withoutbg,
)
from benchmarks.peers.peer import Peer

MODULES = (
    cutout,
    rembg,
    backgroundremover,
    batchroom,
    snipbg,
    withoutbg,
    plain,
    litserve,
    bentoml,
    ray_serve,
)
PEERS: Mapping[str, Peer] = {module.PEER.name: module.PEER for module in MODULES}

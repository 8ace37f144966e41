"""Ray: what a cluster costs beside one server, and what it loses when a machine dies.

    .venv-ray/bin/python -m benchmarks.ray_cluster [--nodes 3] [--seconds 30]

Starts a head and ``--nodes`` nodes of Ray on this machine (each with processes of its own and a replica).
First the same small pictures go in turn to a server without Ray and through the cluster, with a network that
does next to nothing, so that the difference is the way there. Then the cluster is kept 70 % busy with u2netp
while one node is killed with everything on it. What it was working on may fail; all else has to be answered.
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported; it reports to its makers

import ray
from ray import serve
from ray.cluster_utils import Cluster as Machines
from ray.serve.config import HTTPOptions

from app.cli.cluster import Cluster, cutout
from benchmarks.client import Client, Shot
from benchmarks.load import Result, by_status, closed_loop, open_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import ROOT, Server
from tests.networks import hanging_model

LOAD = 0.7
CLIENTS = 6
LONGEST_S = 60.0
"""A request that takes longer hangs."""


class RayCluster:
    """A cluster of nodes on this machine for as long as the block lasts, with a replica on each."""

    def __init__(self, nodes: int, port: int, settings: dict[str, str]) -> None:
        self.host, self.port = "127.0.0.1", port
        self._settings = {"CUTOUT_ACCESS__OPEN": "true", "CUTOUT_ENGINE__THREADS": "1", **settings}
        self._count = nodes

    def __enter__(self) -> Self:
        kept = {name: os.environ.get(name) for name in self._settings}
        os.environ.update(self._settings)
        self._machines = Machines(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        try:
            self.nodes: list[Any] = [self._machines.add_node(num_cpus=1) for _ in range(self._count)]
            ray.init(address=self._machines.address, log_to_driver=False, logging_level="ERROR")
            serve.start(
                proxy_location="HeadOnly",
                http_options=HTTPOptions(host=self.host, port=self.port, request_timeout_s=LONGEST_S),
            )
            replicas = Cluster(min_replicas=self._count, max_replicas=self._count, cpus=1)
            serve.run(cutout(replicas), name="cutout")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        finally:
            for name, text in kept.items():
                os.environ.pop(name) if text is None else os.environ.__setitem__(name, text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        serve.shutdown()
        ray.shutdown()
        self._machines.shutdown()

    def kill_node(self) -> None:
        """End a node with everything on it, without a word to anybody."""
        self._machines.remove_node(self.nodes.pop(), allow_graceful=False)


@dataclass(frozen=True)
class Loss:
    """What came of the requests around the death of a node that was killed ``killed_s`` after the first."""

    results: list[Result]
    killed_s: float

    @property
    def failed(self) -> list[Result]:
        """Requests without an answer, or with one that says that the server failed."""
        return [r for r in self.results if r.status != 200]

    @property
    def failed_in_flight(self) -> list[Result]:
        """Failed requests that were under way when the node died."""
        return [r for r in self.failed if r.intended_s + r.sent_late_s <= self.killed_s]

    @property
    def longest_s(self) -> float:
        """The longest that a request took, whatever came of it."""
        return max(r.latency_s for r in self.results)


async def kill_under_load(cluster: RayCluster, shot: Shot, *, seconds: float) -> Loss:
    """Keep the cluster at 70 % of what it can do, and kill one node after a third of the time."""
    client = Client(cluster.host, cluster.port, timeout_s=2 * LONGEST_S)
    for _ in range(CLIENTS):  # the first runs of a replica are slower
        await client.post(shot)
    best = await closed_loop(client, lambda _: shot, clients=CLIENTS, seconds=seconds / 4)
    rate = LOAD * rate_of(best, begin_s=0, end_s=max(r.ended_s for r in best) + 1e-3)
    started_s = time.monotonic()
    load = asyncio.create_task(open_loop(client, lambda _: shot, rate=rate, seconds=seconds))
    await asyncio.sleep(seconds / 3)
    await asyncio.to_thread(cluster.kill_node)
    killed_s = time.monotonic() - started_s
    results = await load
    await client.close()
    return Loss(results, killed_s)


async def overhead(direct: Server, cluster: RayCluster, shot: Shot, *, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a request to a server and through the cluster, asked in turn."""
    clients = Client(direct.host, direct.port), Client(cluster.host, cluster.port)
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 10):
        for client, times in zip(clients, taken, strict=True):
            began_s = time.perf_counter()
            reply = await client.post(shot)
            if reply.status != 200:
                raise SystemExit(f"an answer was {reply.status}: {reply.body[:200]!r}")
            if number >= 10:
                times.append(time.perf_counter() - began_s)
    for client in clients:
        await client.close()
    return percentile(taken[0], 50), percentile(taken[1], 50)


def main() -> None:
    """Print the cost of the way through Ray, and the loss of a node."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--port", type=int, default=8350)
    args = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        hanging_model(Path(folder), "bright")
        settings = {"CUTOUT_MODELS_DIR": folder, "CUTOUT_MODELS": "bright"}
        shot = Shot("/v1/mask?format=jpeg", jpeg_photo(0.3))
        with RayCluster(1, args.port, settings) as cluster, Server("bright", Path(folder)) as direct:
            alone_s, through_s = asyncio.run(overhead(direct, cluster, shot, rounds=args.rounds))
    print_table(
        (f"{len(shot.upload) / 1e3:.0f} kB, one at a time", "p50"),
        [("cutout serve", f"{alone_s * 1e3:.2f} ms"), ("through Ray Serve", f"{through_s * 1e3:.2f} ms")],
    )
    settings = {"CUTOUT_MODELS_DIR": str(ROOT / "models"), "CUTOUT_MODELS": "u2netp"}
    with RayCluster(args.nodes, args.port, settings) as cluster:
        loss = asyncio.run(kill_under_load(cluster, Shot("/v1/mask", jpeg_photo(0.3)), seconds=args.seconds))
    print_table(("one node killed at 70 %, by status", "count", "p50", "p99", "max"), by_status(loss.results))
    print_figures(
        [
            Figure("what Ray adds to a request, p50", (through_s - alone_s) * 1e3, 3, " ms"),
            Figure(
                "failed, not in flight when the node died", len(loss.failed) - len(loss.failed_in_flight), 0
            ),
            Figure("longest request", loss.longest_s, LONGEST_S, " s"),
        ]
    )


if __name__ == "__main__":
    main()

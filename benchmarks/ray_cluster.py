"""Ray: the overhead of a Ray cluster over one server, and the requests lost when a node dies.

    .venv-ray/bin/python -m benchmarks.ray_cluster [--nodes 3] [--seconds 30]

Starts a Ray head and ``--nodes`` nodes on this machine, each with its own processes and a replica. First the
same small pictures are sent alternately to a server without Ray and through the cluster, with a network that
does almost nothing, so the difference is the overhead of Ray. Then the cluster is kept 70 % busy with u2netp
while one node is killed. Requests in flight on that node may fail; all others must succeed.
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

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # set before ray is imported: no usage reports

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
"""A request that takes longer counts as hanging."""


class RayCluster:
    """A context manager that runs a cluster of nodes on this machine, with one replica per node."""

    def __init__(self, nodes: int, port: int, settings: dict[str, str]) -> None:
        self.host, self.port = "127.0.0.1", port
        self._settings = {"CUTOUT_ACCESS__OPEN": "true", "CUTOUT_ENGINE__THREADS": "1", **settings}
        self._count = nodes

    def __enter__(self) -> Self:
        saved = {name: os.environ.get(name) for name in self._settings}
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
            for name, text in saved.items():
                os.environ.pop(name) if text is None else os.environ.__setitem__(name, text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        serve.shutdown()
        ray.shutdown()
        self._machines.shutdown()

    def kill_node(self) -> None:
        """Kill a node with all its processes, without a graceful shutdown."""
        self._machines.remove_node(self.nodes.pop(), allow_graceful=False)


@dataclass(frozen=True)
class Loss:
    """The results of requests around the death of a node, which was killed after ``killed_s``."""

    results: list[Result]
    killed_s: float

    @property
    def failed(self) -> list[Result]:
        """Requests without a response, or with a status other than 200."""
        return [r for r in self.results if r.status != 200]

    @property
    def failed_in_flight(self) -> list[Result]:
        """Failed requests that were in flight when the node died."""
        return [r for r in self.failed if r.intended_s + r.sent_late_s <= self.killed_s]

    @property
    def longest_s(self) -> float:
        """The longest latency of all requests, successful or not."""
        return max(r.latency_s for r in self.results)


async def kill_under_load(cluster: RayCluster, shot: Shot, *, seconds: float) -> Loss:
    """Keep the cluster at 70 % of its capacity, and kill one node after a third of the time."""
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
    """Return the median latencies of a server and of the cluster, measured in turn, in seconds."""
    clients = Client(direct.host, direct.port), Client(cluster.host, cluster.port)
    latencies_s: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 10):
        for client, samples_s in zip(clients, latencies_s, strict=True):
            began_s = time.perf_counter()
            reply = await client.post(shot)
            if reply.status != 200:
                raise SystemExit(f"status {reply.status}: {reply.body[:200]!r}")
            if number >= 10:
                samples_s.append(time.perf_counter() - began_s)
    for client in clients:
        await client.close()
    return percentile(latencies_s[0], 50), percentile(latencies_s[1], 50)


def main() -> None:
    """Print the overhead of Ray, and the effects of losing a node."""
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
            direct_s, ray_s = asyncio.run(overhead(direct, cluster, shot, rounds=args.rounds))
    print_table(
        (f"{len(shot.upload) / 1e3:.0f} kB, one at a time", "p50"),
        [("cutout serve", f"{direct_s * 1e3:.2f} ms"), ("through Ray Serve", f"{ray_s * 1e3:.2f} ms")],
    )
    settings = {"CUTOUT_MODELS_DIR": str(ROOT / "models"), "CUTOUT_MODELS": "u2netp"}
    with RayCluster(args.nodes, args.port, settings) as cluster:
        loss = asyncio.run(kill_under_load(cluster, Shot("/v1/mask", jpeg_photo(0.3)), seconds=args.seconds))
    print_table(("one node killed at 70 %, by status", "count", "p50", "p99", "max"), by_status(loss.results))
    print_figures(
        [
            Figure("overhead of Ray per request, p50", (ray_s - direct_s) * 1e3, 3, " ms"),
            Figure(
                "failed, not in flight when the node died", len(loss.failed) - len(loss.failed_in_flight), 0
            ),
            Figure("longest request", loss.longest_s, LONGEST_S, " s"),
        ]
    )


if __name__ == "__main__":
    main()

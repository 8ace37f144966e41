"""Rolling: the requests lost while every server of a small cluster is replaced under load.

    python -m benchmarks.rolling [--servers 3] [--rounds 2] [--load 0.8] [--delay 10] [--model u2netp]

The cluster follows the rules of Kubernetes: a new server receives requests once it is ready. A server to be
removed gets SIGTERM, and the proxy continues to send to it until it learns of the removal, after a random
time of up to ``--delay``; the server keeps serving for that time (``CUTOUT_LIFECYCLE__DRAIN_DELAY_S``). At
the end of its grace period the server is killed. The proxy sends each request to the next server over
keep-alive connections, without retries. A request is lost if its connection fails, and refused if its status
is not 200.
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.client import Client, Shot
from benchmarks.load import Result, by_status, closed_loop, open_loop, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

CLIENTS = 6
DRAIN_TIMEOUT_S = 30.0
GRACE_MARGIN_S = 5.0
"""The grace period in addition to delay and timeout."""
MEASURE_S = 4.0
SEGMENT_S = 2.0


class Proxy:
    """A round-robin reverse proxy."""

    def __init__(self) -> None:
        self._servers: dict[Server, Client] = {}
        self._next = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=5)
        for client in self._servers.values():
            await client.close()

    def add(self, server: Server) -> None:
        """Start sending requests to a server."""
        self._servers[server] = Client(server.host, server.port)

    async def remove(self, server: Server, *, after_s: float) -> None:
        """Stop sending requests to a server after a delay."""
        await asyncio.sleep(after_s)
        await self._servers.pop(server).close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while await self._forward(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the connection is closed, and the client counts the loss
        finally:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return False
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head[1:])}
        upload = await reader.readexactly(int(headers["content-length"]))
        self._next += 1
        client = list(self._servers.values())[self._next % len(self._servers)]
        reply = await client.post(Shot(head[0].split()[1], upload))
        lines = f"HTTP/1.1 {reply.status} forwarded\r\nContent-Length: {len(reply.body)}\r\n\r\n"
        writer.write(lines.encode() + reply.body)
        await writer.drain()
        return True


@dataclass
class Rollout:
    """The results of all requests, and the exit codes of the servers."""

    results: list[Result] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    killed: int = 0

    @property
    def lost(self) -> int:
        """The number of requests whose connection failed."""
        return sum(r.status == 0 for r in self.results)

    @property
    def refused(self) -> int:
        """The number of requests with a status other than 200."""
        return sum(r.status not in (0, 200) for r in self.results)


class MiniCluster:
    """Servers behind a proxy, replaced one by one."""

    def __init__(self, args: argparse.Namespace, proxy: Proxy) -> None:
        self._args = args
        self._proxy = proxy
        self._rng = random.Random(args.seed)
        self.servers: list[Server] = []

    async def start_server(self) -> None:
        """Start a server, and add it to the proxy once it is ready."""
        server = Server(
            self._args.model,
            self._args.models_dir,
            {
                "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": str(self._args.drain_delay),
                "CUTOUT_LIFECYCLE__DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S),
                "CUTOUT_ENGINE__THREADS": "1",
            },
        )
        await asyncio.to_thread(server.__enter__)
        self.servers.append(server)
        self._proxy.add(server)

    async def replace_all(self, rollout: Rollout) -> None:
        """Replace each server by a new one, like a Deployment with a surge of one."""
        for old in list(self.servers):
            await self.start_server()
            self.servers.remove(old)
            await self._stop_server(old, rollout)

    async def _stop_server(self, server: Server, rollout: Rollout) -> None:
        after_s = self._rng.uniform(0, self._args.delay)
        removal = asyncio.create_task(self._proxy.remove(server, after_s=after_s))
        server.process.send_signal(signal.SIGTERM)
        grace_s = self._args.drain_delay + DRAIN_TIMEOUT_S + GRACE_MARGIN_S
        try:
            async with asyncio.timeout(grace_s):
                code = await asyncio.to_thread(server.process.wait, grace_s + 1)
            rollout.exit_codes.append(code)
        except TimeoutError:
            rollout.killed += 1
            server.process.kill()
        await removal

    def stop(self) -> None:
        """Stop all remaining servers."""
        for server in self.servers:
            server.__exit__(None, None, None)


async def roll(args: argparse.Namespace) -> Rollout:
    """Replace every server ``args.rounds`` times under load, and return the results."""
    if args.drain_delay is None:
        args.drain_delay = args.delay
    shot = Shot("/v1/mask", jpeg_photo(0.1))
    rollout = Rollout()
    async with Proxy() as proxy:
        cluster = MiniCluster(args, proxy)
        try:
            for _ in range(args.servers):
                await cluster.start_server()
            client = Client("127.0.0.1", proxy.port)
            closed = await closed_loop(client, lambda _: shot, clients=CLIENTS, seconds=MEASURE_S)
            rate = args.load * rate_of(closed, begin_s=0, end_s=max(r.ended_s for r in closed) + 1e-3)
            is_over = asyncio.Event()
            load = asyncio.create_task(keep_loading(client, shot, rate, is_over))
            for _ in range(args.rounds):
                await cluster.replace_all(rollout)
            is_over.set()
            rollout.results = await load
            await client.close()
        finally:
            cluster.stop()
    return rollout


async def keep_loading(client: Client, shot: Shot, rate: float, is_over: asyncio.Event) -> list[Result]:
    """Send requests at random instants until ``is_over`` is set, and wait for all responses."""
    segments = []
    for seed in range(sys.maxsize):
        if is_over.is_set():
            break
        load = open_loop(client, lambda _: shot, rate=rate, seconds=SEGMENT_S, seed=seed)
        segments.append(asyncio.create_task(load))
        await asyncio.sleep(SEGMENT_S)
    return [result for results in await asyncio.gather(*segments) for result in results]


def main() -> None:
    """Print the losses from replacing every server."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_arguments(parser)
    args = parser.parse_args()
    print_machine()
    began_s = time.monotonic()
    rollout = asyncio.run(roll(args))
    print(f"{len(rollout.exit_codes)} servers replaced in {time.monotonic() - began_s:.0f} s; ", end="")
    print(f"exit codes {dict(Counter(rollout.exit_codes))}; {rollout.killed} killed\n")
    print_table(("by status", "count", "p50", "p99", "max"), by_status(rollout.results))
    print_figures([Figure("lost", rollout.lost, 0), Figure("refused", rollout.refused, 0)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the cluster."""
    add_server_arguments(parser)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--load", type=float, default=0.8, help="share of the cluster's capacity")
    parser.add_argument("--delay", type=float, default=10.0, help="longest delay of a removal, in seconds")
    parser.add_argument("--drain-delay", type=float, help="drain delay of a server; --delay by default")
    parser.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    main()

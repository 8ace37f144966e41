"""Rolling: what clients lose while every server of a small cluster is replaced under load.

    python -m benchmarks.rolling [--servers 3] [--rounds 2] [--load 0.8] [--delay 10] [--model u2netp]

A cluster in miniature, with the rules of Kubernetes: a new server takes part once it is ready; one that has
to leave gets SIGTERM, and the proxy goes on sending to it until the news of that has arrived, which takes any
time between nothing and ``--delay``, for which a server that leaves serves on
(``CUTOUT_LIFECYCLE__DRAIN_DELAY_S``); at the end of its grace period it is killed. The proxy sends each
request to the next server, over kept connections, and never a second time. A request is lost if its
connection fails, and refused if its answer is not 200.
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
SPARE_S = 5.0
"""What a grace period has beyond delay and timeout."""
MEASURE_S = 4.0
STRETCH_S = 2.0


class Proxy:
    """A reverse proxy that sends each request to the next of its servers."""

    def __init__(self) -> None:
        self._servers: dict[Server, Client] = {}
        self._turn = 0
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
        """Send to a server from now on."""
        self._servers[server] = Client(server.host, server.port)

    async def remove(self, server: Server, *, after_s: float) -> None:
        """Learn after a while that a server is to get no more."""
        await asyncio.sleep(after_s)
        await self._servers.pop(server).close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while await self._pass_on(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client sees a closed connection, and counts it
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return False
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head[1:])}
        upload = await reader.readexactly(int(headers["content-length"]))
        self._turn += 1
        client = list(self._servers.values())[self._turn % len(self._servers)]
        reply = await client.post(Shot(head[0].split()[1], upload))
        lines = f"HTTP/1.1 {reply.status} passed on\r\nContent-Length: {len(reply.body)}\r\n\r\n"
        writer.write(lines.encode() + reply.body)
        await writer.drain()
        return True


@dataclass
class Rollout:
    """What came of all requests, and how the servers ended."""

    results: list[Result] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    killed: int = 0

    @property
    def lost(self) -> int:
        """Requests whose connection failed."""
        return sum(r.status == 0 for r in self.results)

    @property
    def refused(self) -> int:
        """Requests with an answer that is none."""
        return sum(r.status not in (0, 200) for r in self.results)


class MiniCluster:
    """Servers behind a proxy, and the rules by which they are replaced."""

    def __init__(self, args: argparse.Namespace, proxy: Proxy) -> None:
        self._asked = args
        self._proxy = proxy
        self._chance = random.Random(args.seed)
        self.servers: list[Server] = []

    async def start_one(self) -> None:
        """Start a server; the proxy sends to it once it is ready."""
        server = Server(
            self._asked.model,
            self._asked.models_dir,
            {
                "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": str(self._asked.drain_delay),
                "CUTOUT_LIFECYCLE__DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S),
                "CUTOUT_ENGINE__THREADS": "1",
            },
        )
        await asyncio.to_thread(server.__enter__)
        self.servers.append(server)
        self._proxy.add(server)

    async def replace_all(self, rollout: Rollout) -> None:
        """Replace each server by a new one, as a Deployment does with one more than it needs."""
        for old in list(self.servers):
            await self.start_one()
            self.servers.remove(old)
            await self._end(old, rollout)

    async def _end(self, server: Server, rollout: Rollout) -> None:
        after_s = self._chance.uniform(0, self._asked.delay)
        removal = asyncio.create_task(self._proxy.remove(server, after_s=after_s))
        server.process.send_signal(signal.SIGTERM)
        grace_s = self._asked.drain_delay + DRAIN_TIMEOUT_S + SPARE_S
        try:
            async with asyncio.timeout(grace_s):
                code = await asyncio.to_thread(server.process.wait, grace_s + 1)
            rollout.exit_codes.append(code)
        except TimeoutError:
            rollout.killed += 1
            server.process.kill()
        await removal

    def stop(self) -> None:
        """Stop all that are left."""
        for server in self.servers:
            server.__exit__(None, None, None)


async def roll(args: argparse.Namespace) -> Rollout:
    """Replace every server ``asked.rounds`` times under load, and say what that cost."""
    if args.drain_delay is None:
        args.drain_delay = args.delay
    shot = Shot("/v1/mask", jpeg_photo(0.1))
    rollout = Rollout()
    async with Proxy() as proxy:
        cluster = MiniCluster(args, proxy)
        try:
            for _ in range(args.servers):
                await cluster.start_one()
            client = Client("127.0.0.1", proxy.port)
            best = await closed_loop(client, lambda _: shot, clients=CLIENTS, seconds=MEASURE_S)
            rate = args.load * rate_of(best, begin_s=0, end_s=max(r.ended_s for r in best) + 1e-3)
            done = asyncio.Event()
            load = asyncio.create_task(keep_loading(client, shot, rate, done))
            for _ in range(args.rounds):
                await cluster.replace_all(rollout)
            done.set()
            rollout.results = await load
            await client.close()
        finally:
            cluster.stop()
    return rollout


async def keep_loading(client: Client, shot: Shot, rate: float, done: asyncio.Event) -> list[Result]:
    """Send at random instants until told to stop, and wait for every answer."""
    stretches = []
    for seed in range(sys.maxsize):
        if done.is_set():
            break
        load = open_loop(client, lambda _: shot, rate=rate, seconds=STRETCH_S, seed=seed)
        stretches.append(asyncio.create_task(load))
        await asyncio.sleep(STRETCH_S)
    return [result for results in await asyncio.gather(*stretches) for result in results]


def main() -> None:
    """Print what replacing every server cost."""
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
    """Let the caller choose the cluster."""
    add_server_arguments(parser)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--load", type=float, default=0.8, help="share of what the cluster can do")
    parser.add_argument("--delay", type=float, default=10.0, help="the longest that news take, in seconds")
    parser.add_argument("--drain-delay", type=float, help="how long a leaving server serves on; as --delay")
    parser.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    main()

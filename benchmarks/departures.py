"""Departures: the cost for other clients when half of them disconnect while their pictures wait.

    python -m benchmarks.departures [--rounds 10] [--clients 24] [--megapixels 1]

In each round all clients send at once, and when every picture waits for the network, half of the clients
disconnect: by closing the connection (FIN) in even rounds, by resetting it (RST) in odd ones. They are chosen
from the last three quarters, which cannot run yet. Pictures that ran after a disconnect are those that the
metrics count in addition to the successful responses. The server (``benchmarks.watched``) logs when each
permit is released; the benchmark measures the time from the last disconnect to the last of these releases.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from dataclasses import dataclass, field

from benchmarks.client import Client, Connection, Reply, Shot
from benchmarks.load import closed_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine
from benchmarks.server import Server, add_server_arguments
from benchmarks.watched import RELEASED

ENTER_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Tally:
    """The sums over all rounds."""

    disconnected: int = 0
    runs_after_disconnect: float = 0
    others: int = 0
    others_failed: int = 0
    released_s: list[float] = field(default_factory=list)
    in_flight: float = 0


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--path", default="/v1/cutout")
    args = parser.parse_args()
    print_machine()
    shot = Shot(args.path, jpeg_photo(args.megapixels))
    tally = Tally()
    command = (sys.executable, "-m", "benchmarks.watched", "serve", "--port", "0", "--model", args.model)
    with Server(args.model, args.models_dir, command=command) as server:
        asyncio.run(_all_rounds(server, shot, tally, rounds=args.rounds, clients=args.clients))
    run_share = 100 * tally.runs_after_disconnect / max(1, tally.disconnected)
    print("Released, by round:", ", ".join(f"{1e3 * seconds:.1f}" for seconds in tally.released_s), "ms\n")
    print(f"## {tally.disconnected} disconnects, {tally.others} other clients\n")
    print_figures(
        [
            Figure("disconnected clients whose pictures ran", run_share, 1, " %"),
            Figure("permits released, median", 1e3 * statistics.median(tally.released_s), 10, " ms"),
            Figure("permits released, slowest round", 1e3 * percentile(tally.released_s, 100), 10, " ms"),
            Figure("other clients that failed", tally.others_failed, 0),
            Figure("requests in flight at the end", tally.in_flight, 0),
        ]
    )


async def _all_rounds(server: Server, shot: Shot, tally: Tally, *, rounds: int, clients: int) -> None:
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: shot, clients=2, seconds=1.5)
    await client.close()
    rng = random.Random(0)
    for number in range(rounds):
        disconnecting = set(rng.sample(range(clients // 4, clients), clients // 2))
        await _one_round(
            server, shot, tally, clients=clients, disconnecting=disconnecting, is_abort=number % 2 == 1
        )
    tally.in_flight = server.metrics()["cutout_inflight_requests"]


async def _one_round(
    server: Server, shot: Shot, tally: Tally, *, clients: int, disconnecting: set[int], is_abort: bool
) -> None:
    ran_before = _pictures_run(server)
    connections = [await Connection.open(server.host, server.port) for _ in range(clients)]
    for connection in connections:
        connection.send(shot)
    staying = [asyncio.create_task(_receive(c)) for n, c in enumerate(connections) if n not in disconnecting]
    await _until_all_wait(server, clients - len(disconnecting) // 2)
    began_s = time.monotonic()
    for number in disconnecting:
        connections[number].abort() if is_abort else connections[number].close()
    await asyncio.sleep(0)  # the transports close now
    disconnected_s = time.monotonic()
    released_s = await _until_released(server, since_s=began_s, count=len(disconnecting))
    tally.released_s.append(released_s[-1] - (disconnected_s - began_s))
    responses = await asyncio.gather(*staying)
    tally.disconnected += len(disconnecting)
    tally.others += len(responses)
    tally.others_failed += sum(reply is None or reply.status != 200 for reply in responses)
    await asyncio.sleep(0.2)  # longer than a run that started after its client disconnected
    succeeded = sum(reply is not None and reply.status == 200 for reply in responses)
    tally.runs_after_disconnect += max(0.0, _pictures_run(server) - ran_before - succeeded)


async def _receive(connection: Connection) -> Reply | None:
    try:
        return await connection.receive()
    except OSError:
        return None
    finally:
        connection.close()


async def _until_all_wait(server: Server, min_waiting: int) -> None:
    """Wait until this many decoded pictures wait for the network."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + ENTER_TIMEOUT_S
    while loop.time() < until_s:
        metrics = await asyncio.to_thread(server.metrics)
        if metrics["cutout_step_queue_depth,step=infer"] >= min_waiting:
            break
        await asyncio.sleep(0.01)


async def _until_released(server: Server, *, since_s: float, count: int) -> list[float]:
    """Return the seconds from ``since_s`` to each of the first ``count`` releases of a permit."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + ENTER_TIMEOUT_S
    while loop.time() < until_s:
        released_s = sorted(instant - since_s for instant in _releases(server) if instant > since_s)
        if len(released_s) >= count:
            return released_s[:count]
        await asyncio.sleep(0.05)
    raise SystemExit(f"{count} clients disconnected, but not all of their permits were released.")


def _releases(server: Server) -> list[float]:
    lines = server.log_tail(lines=10_000).splitlines()
    return [float(line.removeprefix(RELEASED)) for line in lines if line.startswith(RELEASED)]


def _pictures_run(server: Server) -> float:
    metrics = server.metrics()
    return sum(value for name, value in metrics.items() if name.startswith("cutout_batch_size_sum"))


if __name__ == "__main__":
    main()

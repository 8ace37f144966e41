"""Departures: half of the clients leave while their pictures wait; what does that cost the others?

    python -m benchmarks.departures [--rounds 10] [--clients 24] [--megapixels 1]

In each round all clients send at once, and when every picture waits for the network, half of them
vanish: in even rounds politely (FIN), in odd ones rudely (RST). They are chosen among the last three
quarters, which cannot run yet. Pictures of the departed that ran are those the metrics count beyond the
answers of the clients who stayed. The gauge of requests in flight is polled until it shows that the
departed are gone; one poll takes a few milliseconds, so the time it shows is too long by as much.
"""

import argparse
import asyncio
import random
import re
import statistics
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.client import Client, Connection, Reply, Shot
from benchmarks.load import closed_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine
from benchmarks.server import Server, add_server_arguments

ENTER_TIMEOUT_S = 5.0
IN_FLIGHT = re.compile(rb"^cutout_inflight_requests ([0-9.e+]+)", re.MULTILINE)


@dataclass(slots=True)
class Tally:
    """What happened in all rounds together."""

    departed: int = 0
    ran_in_vain: float = 0
    bystanders: int = 0
    bystanders_failed: int = 0
    released_s: list[float] = field(default_factory=list)
    polls_s: list[float] = field(default_factory=list)
    left_over: float = 0


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--path", default="/v1/cutout")
    asked = parser.parse_args()
    print_machine()
    shot = Shot(asked.path, jpeg_photo(asked.megapixels))
    tally = Tally()
    with Server(asked.model, asked.models_dir) as server:
        asyncio.run(_all_rounds(server, shot, tally, rounds=asked.rounds, clients=asked.clients))
    reached = 100 * tally.ran_in_vain / max(1, tally.departed)
    poll_ms = 1e3 * statistics.median(tally.polls_s)
    print(f"## {tally.departed} departures, {tally.bystanders} bystanders; a poll takes {poll_ms:.1f} ms\n")
    print_figures(
        [
            Figure("departed whose pictures ran", reached, 1, " %"),
            Figure("budgets released, median", 1e3 * statistics.median(tally.released_s), 10, " ms"),
            Figure("budgets released, slowest round", 1e3 * percentile(tally.released_s, 100), 10, " ms"),
            Figure("bystanders that failed", tally.bystanders_failed, 0),
            Figure("requests in flight at the end", tally.left_over, 0),
        ]
    )


async def _all_rounds(server: Server, shot: Shot, tally: Tally, *, rounds: int, clients: int) -> None:
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: shot, clients=2, seconds=1.5)
    await client.close()
    chance = random.Random(0)
    for number in range(rounds):
        leaving = set(chance.sample(range(clients // 4, clients), clients // 2))
        await _one_round(server, shot, tally, clients=clients, leaving=leaving, is_rude=number % 2 == 1)
    tally.left_over = server.metrics()["cutout_inflight_requests"]


async def _one_round(
    server: Server, shot: Shot, tally: Tally, *, clients: int, leaving: set[int], is_rude: bool
) -> None:
    ran_before = _pictures_run(server)
    connections = [await Connection.open(server.host, server.port) for _ in range(clients)]
    for connection in connections:
        connection.send(shot)
    staying = [asyncio.create_task(_answer(c)) for n, c in enumerate(connections) if n not in leaving]
    in_flight = await _until_all_wait(server, clients - len(leaving) // 2)
    for number in leaving:
        connections[number].leave() if is_rude else connections[number].close()
    await _until_released(server, tally, at_most=in_flight - len(leaving))
    answers = await asyncio.gather(*staying)
    tally.departed += len(leaving)
    tally.bystanders += len(answers)
    tally.bystanders_failed += sum(reply is None or reply.status != 200 for reply in answers)
    await asyncio.sleep(0.2)  # a run in vain would end within
    answered = sum(reply is not None and reply.status == 200 for reply in answers)
    tally.ran_in_vain += max(0.0, _pictures_run(server) - ran_before - answered)


async def _answer(connection: Connection) -> Reply | None:
    try:
        return await connection.receive()
    except OSError:
        return None
    finally:
        connection.close()


async def _until_all_wait(server: Server, at_least: int) -> int:
    """Wait until the pictures have been decoded and wait for the network; return the requests in flight."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + ENTER_TIMEOUT_S
    while loop.time() < until_s:
        metrics = await asyncio.to_thread(server.metrics)
        if metrics["cutout_step_queue_depth,step=infer"] >= at_least:
            break
        await asyncio.sleep(0.01)
    return int(await _in_flight(server))


async def _until_released(server: Server, tally: Tally, *, at_most: int) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    while loop.time() - started_s < ENTER_TIMEOUT_S:
        asked_s = loop.time()
        in_flight = await _in_flight(server)
        tally.polls_s.append(loop.time() - asked_s)
        if in_flight <= at_most:
            break
    tally.released_s.append(loop.time() - started_s)


async def _in_flight(server: Server) -> float:
    address = urlsplit(server.metrics_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /metrics?name[]=cutout_inflight_requests HTTP/1.0\r\n\r\n")
    page = await reader.read()
    writer.close()
    found = IN_FLIGHT.search(page)
    if found is None:
        raise SystemExit("The metrics page has no cutout_inflight_requests.")
    return float(found.group(1))


def _pictures_run(server: Server) -> float:
    metrics = server.metrics()
    return sum(value for name, value in metrics.items() if name.startswith("cutout_batch_size_sum"))


if __name__ == "__main__":
    main()

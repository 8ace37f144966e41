"""Slow: the effect of very slow connections on a healthy client.

    python -m benchmarks.slow [--connections 1000] [--seconds 60]

Slow connections come from 127.0.0.2, the healthy client from 127.0.0.1. Half of the slow connections send the
headers of a request at one byte per second, half the body; one in twenty requests more than the system
buffers and reads nothing (not more of them, because their repeated requests would be a flood instead). Each
connection that the server closes is opened again, so their number stays constant.

The healthy client sends a share of the capacity measured before. Its errors and latencies are compared with
those without slow connections, and how long each slow connection stayed open after its deadline is measured.
The deadlines are a few seconds here, so that each kind reaches its own many times.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import uvloop

from benchmarks.client import Client, Shot
from benchmarks.load import Result, closed_loop, open_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

HEAD_S, BODY_S, WRITE_S = 5.0, 8.0, 20.0
SLOW_ADDRESS = "127.0.0.2"
MAX_OVERRUN_S = 1.0
RAMP_S = 15.0
GET_CONTRACT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
CONTRACT_REQUESTS = 120
"""Each response has 30 kB; the loopback interface buffers three megabytes, even with a small window."""
NON_READER_EVERY = 20
CAPACITY_S = 10.0
ATTACK_NICE = 5
"""A real attack does not use the server's processors, so this one's own work has a low priority."""
SHOT = Shot("/v1/mask", jpeg_photo(0.3))
Kind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def main() -> None:
    """Print the tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--share", type=float, default=0.25, help="load of the healthy client, of the measured capacity"
    )
    args = parser.parse_args()
    print_machine()
    settings = {
        "CUTOUT_LIMITS__HEAD_TIMEOUT_S": str(HEAD_S),
        "CUTOUT_LIMITS__UPLOAD_TIMEOUT_S": str(BODY_S),
        "CUTOUT_LIMITS__WRITE_TIMEOUT_S": str(WRITE_S),
        "CUTOUT_LIMITS__IN_FLIGHT_REQUESTS": str(2 * args.connections),
    }
    with Server(args.model, args.models_dir, settings) as server:
        capacity = asyncio.run(_capacity(server))
        rate = args.share * capacity
        print(
            f"The healthy client sends {rate:.2f} of {capacity:.2f} requests/s that the server can process.\n"
        )
        alone = asyncio.run(_healthy(server, rate, args.seconds))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            1, mp_context=context, initializer=os.nice, initargs=(ATTACK_NICE,)
        ) as executor:
            length_s = RAMP_S + args.seconds + 2
            attack = executor.submit(
                run_slow_connections, server.host, server.port, args.connections, length_s
            )
            time.sleep(RAMP_S + 2)
            under_attack = asyncio.run(_healthy(server, rate, args.seconds))
            open_s = attack.result()
        memory = server.peak_bytes() / 2**20
    rows = [_row("alone", alone), _row("with slow connections", under_attack)]
    print_table(("healthy client", "requests", "p50", "p99"), rows)
    limits = {"head": HEAD_S, "body": BODY_S, "read": WRITE_S}
    print_table(
        ("slow connections", "closed", "deadline", "longest open"),
        [
            (kind, str(len(durations_s)), f"{limits[kind]:g} s", f"{max(durations_s):.1f} s")
            for kind, durations_s in sorted(open_s.items())
        ],
    )
    overrun_s = max(max(durations_s) - limits[kind] for kind, durations_s in open_s.items())
    ratio = percentile([r.latency_s for r in under_attack], 99) / percentile([r.latency_s for r in alone], 99)
    print_figures(
        [
            Figure("errors of the healthy client", sum(r.status != 200 for r in under_attack), 0),
            Figure("its p99, relative to the p99 alone", ratio, 2, " ×"),
            Figure("slow connection open after its deadline", overrun_s, MAX_OVERRUN_S, " s"),
            Figure("peak memory", memory, 2048, " MiB"),
        ]
    )


def _kind(number: int) -> tuple[str, Kind]:
    if number % NON_READER_EVERY == 0:
        return "read", _read_nothing
    return ("head", _drip_head) if number % 2 else ("body", _drip_body)


def _row(name: str, results: list[Result]) -> tuple[str, ...]:
    latencies = [result.latency_s for result in results]
    return name, str(len(results)), *(milliseconds(percentile(latencies, percent)) for percent in (50, 99))


async def _capacity(server: Server) -> float:
    """Return the requests per second that the server can process."""
    client = Client(server.host, server.port)
    await closed_loop(client, lambda _: SHOT, clients=2, seconds=3)
    results = await closed_loop(client, lambda _: SHOT, clients=2, seconds=CAPACITY_S)
    await client.close()
    return rate_of(results, begin_s=0.0, end_s=CAPACITY_S)


async def _healthy(server: Server, rate: float, seconds: float) -> list[Result]:
    client = Client(server.host, server.port)
    await open_loop(client, lambda _: SHOT, rate=rate, seconds=3)
    results = await open_loop(client, lambda _: SHOT, rate=rate, seconds=seconds)
    await client.close()
    return results


def run_slow_connections(host: str, port: int, count: int, seconds: float) -> dict[str, list[float]]:
    """Keep ``count`` slow connections open, and return how long each closed one was open, by kind."""
    os.nice(10)  # a thousand real clients would not share these cores with the server
    open_s: dict[str, list[float]] = {"head": [], "body": [], "read": []}

    async def run_all() -> None:
        slow = [
            asyncio.create_task(
                _reconnect_forever(*_kind(n), (host, port), open_s, delay_s=RAMP_S * n / count)
            )
            for n in range(count)
        ]
        await asyncio.sleep(seconds)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_all())
    return open_s


async def _reconnect_forever(
    name: str, kind: Kind, address: tuple[str, int], open_s: dict[str, list[float]], delay_s: float
) -> None:
    await asyncio.sleep(delay_s)
    while True:
        try:
            reader, writer = await _connect(address)
        except OSError:
            await asyncio.sleep(0.5)
            continue
        began_s = asyncio.get_running_loop().time()
        with contextlib.suppress(OSError):
            await kind(reader, writer)
        open_s[name].append(asyncio.get_running_loop().time() - began_s)
        writer.transport.abort()


async def _connect(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with the smallest window, so that little of a response is buffered."""
    client_socket = socket.socket()
    client_socket.setblocking(False)  # noqa: FBT003 - signature of the standard library
    try:
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client_socket.bind((SLOW_ADDRESS, 0))
        await asyncio.get_running_loop().sock_connect(client_socket, address)
        return await asyncio.open_connection(sock=client_socket, limit=4096)
    except BaseException:
        client_socket.close()
        raise


async def _drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /v1/mask HTTP/1.1\r\nX: ")
    await _drip_until_closed(reader, writer)


async def _drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    await _drip_until_closed(reader, writer)


async def _drip_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    closed = asyncio.create_task(reader.read(-1))
    while not closed.done() and not writer.transport.is_closing():
        writer.write(b".")
        await asyncio.wait((closed,), timeout=1)
    closed.cancel()
    await asyncio.gather(closed, return_exceptions=True)


async def _read_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Request the API contract often enough to fill all buffers, and read nothing."""
    writer.transport.pause_reading()  # type: ignore[attr-defined] # a read transport as well
    writer.write(GET_CONTRACT * CONTRACT_REQUESTS)
    while not writer.transport.is_closing():
        await asyncio.sleep(0.5)
        writer.write(GET_CONTRACT)  # detects that the server has closed the connection


if __name__ == "__main__":
    main()

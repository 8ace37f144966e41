"""Slow: connections that send and read as slowly as they can; does a healthy client notice?

    python -m benchmarks.slow [--connections 1000] [--seconds 60]

The slow ones come from 127.0.0.2, the healthy client from 127.0.0.1. Half of them drip the headers of a
request a byte a second, half the body; one of twenty asks for more than the system buffers and reads nothing
of it (no more, since what they ask for again and again would be a flood, and not slow at all). Each that is
closed is opened again, so that there are always as many. What counts: the healthy client's errors and
latencies against those without company, and how long each slow connection was left open beyond its deadline.
The deadlines are a few seconds here, so that each kind meets its own many times.
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
from benchmarks.load import Result, open_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

HEAD_S, BODY_S, WRITE_S = 5.0, 8.0, 20.0
SLOW_ADDRESS = "127.0.0.2"
ALLOWED_S = 1.0
RAMP_S = 15.0
GET_CONTRACT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
CONTRACTS = 120
"""Of 30 kB each: on the loopback interface the system buffers three megabytes, however small the window."""
ONE_READS_NOTHING_OF = 20
Kind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def main() -> None:
    """Print the tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2, help="requests a second of the healthy client")
    args = parser.parse_args()
    print_machine()
    settings = {
        "CUTOUT_LIMITS__HEAD_TIMEOUT_S": str(HEAD_S),
        "CUTOUT_LIMITS__UPLOAD_TIMEOUT_S": str(BODY_S),
        "CUTOUT_LIMITS__WRITE_TIMEOUT_S": str(WRITE_S),
        "CUTOUT_LIMITS__IN_FLIGHT_REQUESTS": str(2 * args.connections),
    }
    with Server(args.model, args.models_dir, settings) as server:
        alone = asyncio.run(_healthy(server, args.rate, args.seconds / 2))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as apart:
            length_s = RAMP_S + args.seconds + 2
            attack = apart.submit(run_slow_ones, server.host, server.port, args.connections, length_s)
            time.sleep(RAMP_S + 2)
            beside = asyncio.run(_healthy(server, args.rate, args.seconds))
            stayed_s = attack.result()
        memory = server.peak_bytes() / 2**20
    rows = [_row("alone", alone), _row("beside slow ones", beside)]
    print_table(("healthy client", "requests", "p50", "p99"), rows)
    limits = {"head": HEAD_S, "body": BODY_S, "read": WRITE_S}
    print_table(
        ("slow connections", "closed", "deadline", "longest open"),
        [
            (kind, str(len(stayed)), f"{limits[kind]:g} s", f"{max(stayed):.1f} s")
            for kind, stayed in sorted(stayed_s.items())
        ],
    )
    beyond = max(max(stayed) - limits[kind] for kind, stayed in stayed_s.items())
    ratio = percentile([r.latency_s for r in beside], 99) / percentile([r.latency_s for r in alone], 99)
    print_figures(
        [
            Figure("errors of the healthy client", sum(r.status != 200 for r in beside), 0),
            Figure("its p99, of that without company", ratio, 2, " ×"),
            Figure("slow connection open beyond its deadline", beyond, ALLOWED_S, " s"),
            Figure("peak memory", memory, 2048, " MiB"),
        ]
    )


def _kind(number: int) -> tuple[str, Kind]:
    if number % ONE_READS_NOTHING_OF == 0:
        return "read", _read_nothing
    return ("head", _drip_head) if number % 2 else ("body", _drip_body)


def _row(name: str, results: list[Result]) -> tuple[str, ...]:
    latencies = [result.latency_s for result in results]
    return name, str(len(results)), *(milliseconds(percentile(latencies, percent)) for percent in (50, 99))


async def _healthy(server: Server, rate: float, seconds: float) -> list[Result]:
    shot = Shot("/v1/mask", jpeg_photo(0.3))
    client = Client(server.host, server.port)
    await open_loop(client, lambda _: shot, rate=rate, seconds=3)
    results = await open_loop(client, lambda _: shot, rate=rate, seconds=seconds)
    await client.close()
    return results


def run_slow_ones(host: str, port: int, count: int, seconds: float) -> dict[str, list[float]]:
    """Keep ``count`` slow connections open, and return how long each that was closed had stayed, by kind."""
    os.nice(10)  # a thousand laptops would not share these cores with the server
    stayed_s: dict[str, list[float]] = {"head": [], "body": [], "read": []}

    async def all_of_them() -> None:
        slow = [
            asyncio.create_task(
                _again_and_again(*_kind(n), (host, port), stayed_s, delay_s=RAMP_S * n / count)
            )
            for n in range(count)
        ]
        await asyncio.sleep(seconds)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())
    return stayed_s


async def _again_and_again(
    name: str, kind: Kind, address: tuple[str, int], stayed_s: dict[str, list[float]], delay_s: float
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
        stayed_s[name].append(asyncio.get_running_loop().time() - began_s)
        writer.transport.abort()


async def _connect(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with the smallest window there is, so that little of an answer is buffered on the way."""
    here = socket.socket()
    here.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    try:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        here.bind((SLOW_ADDRESS, 0))
        await asyncio.get_running_loop().sock_connect(here, address)
        return await asyncio.open_connection(sock=here, limit=4096)
    except BaseException:
        here.close()
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
    """Ask for the contract some times, more than the system buffers, and read nothing of it."""
    writer.transport.pause_reading()  # type: ignore[attr-defined] # a read transport as well
    writer.write(GET_CONTRACT * CONTRACTS)
    while not writer.transport.is_closing():
        await asyncio.sleep(0.5)
        writer.write(GET_CONTRACT)  # finds out that the other end has gone


if __name__ == "__main__":
    main()

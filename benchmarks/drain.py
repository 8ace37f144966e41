"""Drain: the requests lost when the server is restarted under load.

    python -m benchmarks.drain [--restarts 50] [--model u2netp] [--supervise]

Measures the capacity of ``/v1/mask`` with keep-alive clients, then restarts the server N times at a share of
that load. Each time a stalled upload and a client that does not read its response are held open as well, so
every drain lasts until its timeout. A request counts as accepted if the client started it before the end of
the delay; it is lost if its connection fails before a complete response.
"""

import argparse
import asyncio
import io
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import print_machine

CUTOUT = Path(sys.executable).with_name("cutout")
CLIENTS = 8
TRANSIT_S = 0.05
"""A request started this shortly before the end of the delay may arrive after it."""


@dataclass(frozen=True)
class Attempt:
    """One request: its start, and its status or the error of its connection."""

    started_s: float
    outcome: int | str


@dataclass(frozen=True)
class Restart:
    """The effects of one restart."""

    accepted: int
    lost: int
    refused_early: int
    rejected_early: dict[str, int]
    failed_late: int
    exit_code: int
    overrun_s: float


def main() -> None:
    """Print the effects of N restarts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--model", default="u2netp")
    parser.add_argument("--load", type=float, default=0.8, help="share of the measured capacity")
    parser.add_argument("--delay", type=float, default=0.5, help="drain_delay_s")
    parser.add_argument("--timeout", type=float, default=2.0, help="drain_timeout_s")
    parser.add_argument("--supervise", action="store_true")
    args = parser.parse_args()
    print_machine()
    upload, large_upload = noisy_jpeg(120, 160), noisy_jpeg(2000, 3000)
    with running(args) as (process, url):
        rate = asyncio.run(capacity(url, upload))
        process.send_signal(signal.SIGINT)
        process.wait(60)
    print(f"capacity {rate:.1f} requests/s; load {args.load:.0%} of it from {CLIENTS} keep-alive clients")
    restarts = []
    for number in range(args.restarts):
        with running(args) as (process, url):
            restarts.append(asyncio.run(restart(process, url, args, rate, (upload, large_upload))))
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{args.restarts}", end="", file=sys.stderr)
    report(restarts)


@contextmanager
def running(args: argparse.Namespace) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server, and yield its process and URL when it is ready."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
    settings = {
        "CUTOUT_MODELS_DIR": os.environ.get("CUTOUT_MODELS_DIR", "models"),
        "CUTOUT_WEB__METRICS_PORT": "none",
        "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": str(args.delay),
        "CUTOUT_LIFECYCLE__DRAIN_TIMEOUT_S": str(args.timeout),
    }
    supervise = "--supervise" if args.supervise else "--no-supervise"
    process = subprocess.Popen(
        [str(CUTOUT), "serve", "--port", "0", "--model", args.model, supervise],
        env={**clean, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, next(line.split()[-1] for line in process.stdout if "Cutout listens on" in line)
    finally:
        process.kill()
        process.wait()


async def capacity(url: str, upload: bytes, *, seconds: float = 5.0) -> float:
    """Return responses per second when every client always has an open request."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        until_s = time.monotonic() + seconds

        async def send_requests() -> int:
            count = 0
            while time.monotonic() < until_s:
                (await client.post("/v1/mask", content=upload)).raise_for_status()
                count += 1
            return count

        return sum(await asyncio.gather(*(send_requests() for _ in range(CLIENTS)))) / seconds


async def restart(
    process: subprocess.Popen[str],
    url: str,
    args: argparse.Namespace,
    rate: float,
    uploads: tuple[bytes, bytes],
) -> Restart:
    """Stop one server under load with two stalled connections, and return the effects."""
    upload, large_upload = uploads
    peers = [await stalled_upload(url), await slow_reader(url, large_upload)]
    attempts: list[Attempt] = []
    stopped = asyncio.Event()
    pace_s = CLIENTS / (rate * args.load)
    clients = [
        asyncio.create_task(
            keep_sending(url, upload, attempts, stopped, pace_s=pace_s, lag_s=k * pace_s / CLIENTS)
        )
        for k in range(CLIENTS)
    ]
    await asyncio.sleep(1)
    stopped_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    exit_code = await asyncio.to_thread(process.wait, 120)
    overrun_s = time.monotonic() - stopped_s - args.delay - args.timeout
    stopped.set()
    await asyncio.gather(*clients)
    for peer in peers:
        peer.close()
    delay_ends_s = stopped_s + args.delay - TRANSIT_S
    accepted = Counter(a.outcome for a in attempts if a.started_s < delay_ends_s)
    late = Counter(a.outcome for a in attempts if a.started_s >= delay_ends_s)
    failed = sum(count for outcome, count in accepted.items() if isinstance(outcome, str))
    return Restart(
        accepted=accepted.total(),
        lost=failed - accepted["ConnectError"],
        refused_early=accepted["ConnectError"],
        rejected_early={
            f"{a.outcome} after {a.started_s - stopped_s:.2f} s": 1
            for a in attempts
            if a.started_s < delay_ends_s and isinstance(a.outcome, int) and a.outcome != 200
        },
        failed_late=sum(
            n for outcome, n in late.items() if isinstance(outcome, str) and outcome != "ConnectError"
        ),
        exit_code=exit_code,
        overrun_s=overrun_s,
    )


async def keep_sending(
    url: str, upload: bytes, attempts: list[Attempt], stopped: asyncio.Event, *, pace_s: float, lag_s: float
) -> None:
    """Send a request every ``pace_s`` on one connection until the server has stopped."""
    await asyncio.sleep(lag_s)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while not stopped.is_set():
            started_s = time.monotonic()
            try:
                outcome: int | str = (await client.post("/v1/mask", content=upload)).status_code
            except httpx.TransportError as error:
                outcome = type(error).__name__
            attempts.append(Attempt(started_s, outcome))
            await asyncio.sleep(max(0.0, started_s + pace_s - time.monotonic()))


async def stalled_upload(url: str) -> asyncio.StreamWriter:
    """Start a request whose body is never completed."""
    reader, writer = await _connect(url)
    writer.write(b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"never whole")
    return writer


async def slow_reader(url: str, upload: bytes) -> asyncio.StreamWriter:
    """Request a response larger than all buffers, and read only its head."""
    reader, writer = await _connect(url)
    head = f"POST /v1/cutout?matting=none HTTP/1.1\r\nHost: x\r\nContent-Length: {len(upload)}\r\n\r\n"
    writer.write(head.encode() + upload)
    await reader.readuntil(b"\r\n\r\n")
    return writer


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = httpx.URL(url)
    return await asyncio.open_connection(address.host, address.port, limit=4096)


def noisy_jpeg(height: int, width: int) -> bytes:
    """Return a bright disc under noise: it has a subject and is incompressible."""
    y, x = np.mgrid[0:height, 0:width]
    disc = np.hypot(y - height / 2, x - width / 2) < min(height, width) * 0.35
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(np.where(disc[:, :, None], np.uint8(150), np.uint8(40)) + noise).save(
        encoded, "JPEG", quality=95
    )
    return encoded.getvalue()


def report(restarts: list[Restart]) -> None:
    """Print the sums over all restarts."""
    overrun_ms = [restart.overrun_s * 1e3 for restart in restarts]
    print(f"restarts                                {len(restarts)}")
    print(f"requests accepted                       {sum(r.accepted for r in restarts)}")
    print(f"accepted and lost                       {sum(r.lost for r in restarts)}")
    print(f"connections refused before the delay    {sum(r.refused_early for r in restarts)}")
    rejected = sum((Counter(r.rejected_early) for r in restarts), Counter[str]())
    print(f"rejected before the delay               {rejected.total()} {dict(rejected) or ''}")
    print(f"failed after the delay, no response     {sum(r.failed_late for r in restarts)}")
    print(f"exit codes                              {dict(Counter(r.exit_code for r in restarts))}")
    print(f"exit beyond delay and timeout, median   {statistics.median(overrun_ms):.0f} ms")
    print(f"exit beyond delay and timeout, longest  {max(overrun_ms):.0f} ms")


if __name__ == "__main__":
    main()

"""Drain: what clients lose when the server is restarted under load.

    python -m benchmarks.drain [--restarts 50] [--model u2netp] [--supervise]

Measures the capacity of ``/v1/mask`` with keep-alive clients, then restarts the server N times at a
share of it. Each time a stalled upload and a reader that does not read are held open as well, so
every drain lasts to its timeout. A request counts as accepted if it was begun, on the client's clock,
before the delay ended; it is lost if its connection fails without a whole answer.
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
"""A request begun so shortly before the end of the delay may arrive after it."""


@dataclass(frozen=True)
class Attempt:
    """One request: when it was begun, and its status or how its connection failed."""

    begun_s: float
    outcome: int | str


@dataclass(frozen=True)
class Restart:
    """What one restart cost."""

    accepted: int
    lost: int
    refused_early: int
    turned_away_early: dict[str, int]
    failed_late: int
    exit_code: int
    beyond_s: float


def main() -> None:
    """Print what N restarts cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--model", default="u2netp")
    parser.add_argument("--load", type=float, default=0.8, help="share of the measured capacity")
    parser.add_argument("--delay", type=float, default=0.5, help="drain_delay_s")
    parser.add_argument("--timeout", type=float, default=2.0, help="drain_timeout_s")
    parser.add_argument("--supervise", action="store_true")
    chosen = parser.parse_args()
    print_machine()
    upload, large_upload = noisy_jpeg(120, 160), noisy_jpeg(2000, 3000)
    with running(chosen) as (process, url):
        rate = asyncio.run(capacity(url, upload))
        process.send_signal(signal.SIGINT)
        process.wait(60)
    print(f"capacity {rate:.1f} requests/s; load {chosen.load:.0%} of it from {CLIENTS} keep-alive clients")
    restarts = []
    for number in range(chosen.restarts):
        with running(chosen) as (process, url):
            restarts.append(asyncio.run(restart(process, url, chosen, rate, (upload, large_upload))))
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{chosen.restarts}", end="", file=sys.stderr)
    report(restarts)


@contextmanager
def running(chosen: argparse.Namespace) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server, and yield its process and address once it is ready."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
    settings = {
        "CUTOUT_MODELS_DIR": os.environ.get("CUTOUT_MODELS_DIR", "models"),
        "CUTOUT_WEB__METRICS_PORT": "none",
        "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": str(chosen.delay),
        "CUTOUT_LIFECYCLE__DRAIN_TIMEOUT_S": str(chosen.timeout),
    }
    supervise = "--supervise" if chosen.supervise else "--no-supervise"
    process = subprocess.Popen(
        [str(CUTOUT), "serve", "--port", "0", "--model", chosen.model, supervise],
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
    """Return answers per second when every client has a request open at all times."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        until_s = time.monotonic() + seconds

        async def ask() -> int:
            count = 0
            while time.monotonic() < until_s:
                (await client.post("/v1/mask", content=upload)).raise_for_status()
                count += 1
            return count

        return sum(await asyncio.gather(*(ask() for _ in range(CLIENTS)))) / seconds


async def restart(
    process: subprocess.Popen[str],
    url: str,
    chosen: argparse.Namespace,
    rate: float,
    uploads: tuple[bytes, bytes],
) -> Restart:
    """Stop one server under load with two stalled peers, and say what that cost."""
    upload, large_upload = uploads
    peers = [await stalled_upload(url), await slow_reader(url, large_upload)]
    attempts: list[Attempt] = []
    gone = asyncio.Event()
    pace_s = CLIENTS / (rate * chosen.load)
    clients = [
        asyncio.create_task(
            keep_asking(url, upload, attempts, gone, pace_s=pace_s, lag_s=k * pace_s / CLIENTS)
        )
        for k in range(CLIENTS)
    ]
    await asyncio.sleep(1)
    stopped_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    exit_code = await asyncio.to_thread(process.wait, 120)
    beyond_s = time.monotonic() - stopped_s - chosen.delay - chosen.timeout
    gone.set()
    await asyncio.gather(*clients)
    for peer in peers:
        peer.close()
    delay_ends_s = stopped_s + chosen.delay - TRANSIT_S
    accepted = Counter(a.outcome for a in attempts if a.begun_s < delay_ends_s)
    late = Counter(a.outcome for a in attempts if a.begun_s >= delay_ends_s)
    failed = sum(count for outcome, count in accepted.items() if isinstance(outcome, str))
    return Restart(
        accepted=accepted.total(),
        lost=failed - accepted["ConnectError"],
        refused_early=accepted["ConnectError"],
        turned_away_early={
            f"{a.outcome} after {a.begun_s - stopped_s:.2f} s": 1
            for a in attempts
            if a.begun_s < delay_ends_s and isinstance(a.outcome, int) and a.outcome != 200
        },
        failed_late=sum(
            n for outcome, n in late.items() if isinstance(outcome, str) and outcome != "ConnectError"
        ),
        exit_code=exit_code,
        beyond_s=beyond_s,
    )


async def keep_asking(
    url: str, upload: bytes, attempts: list[Attempt], gone: asyncio.Event, *, pace_s: float, lag_s: float
) -> None:
    """Send a request every ``pace_s`` on one connection, for as long as the server is there."""
    await asyncio.sleep(lag_s)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while not gone.is_set():
            begun_s = time.monotonic()
            try:
                outcome: int | str = (await client.post("/v1/mask", content=upload)).status_code
            except httpx.TransportError as error:
                outcome = type(error).__name__
            attempts.append(Attempt(begun_s, outcome))
            await asyncio.sleep(max(0.0, begun_s + pace_s - time.monotonic()))


async def stalled_upload(url: str) -> asyncio.StreamWriter:
    """Open a request whose body never comes."""
    reader, writer = await _connect(url)
    writer.write(b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"never whole")
    return writer


async def slow_reader(url: str, upload: bytes) -> asyncio.StreamWriter:
    """Ask for an answer larger than every buffer on the way, and read no more than its head."""
    reader, writer = await _connect(url)
    head = f"POST /v1/cutout?matting=none HTTP/1.1\r\nHost: x\r\nContent-Length: {len(upload)}\r\n\r\n"
    writer.write(head.encode() + upload)
    await reader.readuntil(b"\r\n\r\n")
    return writer


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = httpx.URL(url)
    return await asyncio.open_connection(address.host, address.port, limit=4096)


def noisy_jpeg(height: int, width: int) -> bytes:
    """Return a bright disc under noise: it has a subject, and nothing can compress it."""
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
    beyond_ms = [restart.beyond_s * 1e3 for restart in restarts]
    print(f"restarts                                {len(restarts)}")
    print(f"requests accepted                       {sum(r.accepted for r in restarts)}")
    print(f"accepted and lost                       {sum(r.lost for r in restarts)}")
    print(f"connections refused before the delay    {sum(r.refused_early for r in restarts)}")
    turned_away = sum((Counter(r.turned_away_early) for r in restarts), Counter[str]())
    print(f"turned away before the delay            {turned_away.total()} {dict(turned_away) or ''}")
    print(f"failed after the delay, no answer       {sum(r.failed_late for r in restarts)}")
    print(f"exit codes                              {dict(Counter(r.exit_code for r in restarts))}")
    print(f"exit beyond delay and timeout, median   {statistics.median(beyond_ms):.0f} ms")
    print(f"exit beyond delay and timeout, longest  {max(beyond_ms):.0f} ms")


if __name__ == "__main__":
    main()

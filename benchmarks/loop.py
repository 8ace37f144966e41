"""Loop: sends bodies designed to keep the event loop busy, and measures the latency of /livez meanwhile.

    python -m benchmarks.loop [--connections 4] [--seconds 4] [--only chunks]

A separate process sends the bodies, one after the other on each connection; this process requests /livez
continuously and records the longest latency, and the growth of the server's memory. The row "nothing" shows
how much of a latency is due to a busy machine.
"""

import argparse
import base64
import http.client
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.queues import Queue

import cv2
import numpy as np

from benchmarks.report import print_machine, print_table
from benchmarks.server import Server, add_server_arguments

MAX_BYTES = 20 * 2**20 - 1000
PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class Attack:
    """A request that is sent repeatedly."""

    path: str
    headers: dict[str, str]
    body: Callable[[], bytes]
    connections: int | None = None


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print_machine()
    rows = []
    for name, attack in ATTACKS.items():
        if args.only in name:
            with Server(args.model, args.models_dir) as server:  # a new one, for comparable memory
                row = (name, *_measure(server, attack, args.connections, args.seconds))
            rows.append(row)
            print(*row, flush=True)
    print_table(("sent", "/livez, max", "/livez, p99", "memory, peak − start", "statuses"), rows)


def _measure(server: Server, attack: Attack | None, connections: int, seconds: float) -> tuple[str, ...]:
    """Return the longest and p99 latency, the growth of memory, and the statuses of the requests."""
    results: Queue[Counter[str]] = multiprocessing.Queue()
    before = server.rss_bytes()
    server.forget_peak()
    sender = multiprocessing.Process(
        target=_send_all, args=(server.port, attack, connections, seconds, results)
    )
    sender.start()
    waits = _poll_livez(server.port, sender.is_alive)
    statuses = results.get(timeout=30)
    sender.join()
    waits.sort()
    return (
        f"{1e3 * waits[-1]:.0f} ms",
        f"{1e3 * waits[int(0.99 * len(waits))]:.0f} ms",
        f"{(server.peak_bytes() - before) / 2**20:.0f} MiB",
        ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items())) or "-",
    )


def _poll_livez(port: int, is_running: Callable[[], bool]) -> list[float]:
    """Request /livez continuously, and return the latency of each response in seconds."""
    waits = []
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    started_s = time.monotonic()
    while is_running():
        try:
            client.request("GET", "/livez")
            client.getresponse().read()
        except (OSError, http.client.HTTPException):  # closed as idle after a long delay of the loop
            client.close()
            continue
        waits.append(time.monotonic() - started_s)
        time.sleep(PAUSE_S)
        started_s = time.monotonic()
    waits.append(time.monotonic() - started_s)
    return waits


def _send_all(
    port: int, attack: Attack | None, connections: int, seconds: float, results: "Queue[Counter[str]]"
) -> None:
    os.nice(5)  # attackers have processors of their own; here they would take the server's
    statuses: Counter[str] = Counter()
    if attack is None:
        time.sleep(seconds)
        results.put(statuses)
        return
    body = attack.body()
    until_s = time.monotonic() + seconds

    def send() -> None:
        while time.monotonic() < until_s:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            status = "closed"
            with suppress(OSError, http.client.HTTPException):
                with suppress(ConnectionError):  # refused before the whole body was sent
                    client.request(
                        "POST", attack.path, body, {"Content-Type": "application/json", **attack.headers}
                    )
                response = client.getresponse()
                response.read()
                status = str(response.status)
            statuses[status] += 1
            client.close()

    threads = [threading.Thread(target=send) for _ in range(attack.connections or connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(statuses)


def _repeat(start: bytes, unit: bytes, end: bytes, size: int = MAX_BYTES) -> bytes:
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def _tensor(datum: bytes, side: int, end: bytes) -> bytes:
    head = b'{"inputs":[{"name":"network_input","datatype":"UINT8","shape":[1,%d,%d,3],"data":[' % (
        side,
        side,
    )
    return head + b",".join([datum] * (side * side * 3)) + end


def _tensor_of_texts() -> bytes:
    """Build a tensor that NumPy would convert to an array as wide as its longest text."""
    return _tensor(b'"x"', 100, b',"' + b"x" * 8000 + b'"]}]}')


def _picture() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), np.uint8)
    return cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JUNK = base64.b64encode(bytes(range(256)) * 3)  # no padding
ATTACKS: dict[str, Attack | None] = {
    "nothing": None,
    "chunks of one byte, 16 connections": Attack(
        "/v1/mask",
        {"Transfer-Encoding": "chunked"},
        lambda: _repeat(b"", b"1\r\nx\r\n", b"0\r\n\r\n", 2**21),
        16,
    ),
    "JSON of lists": Attack("/v1/mask", {}, lambda: _repeat(b'{"a":[', b"[],", b"[]]}")),
    "JSON of lists, type in capitals": Attack(
        "/v1/mask", {"Content-Type": "APPLICATION/JSON"}, lambda: _repeat(b'{"a":[', b"[],", b"[]]}")
    ),
    "JSON, base64 of 20 MB": Attack("/v1/mask", {}, lambda: _repeat(b'{"image":"', JUNK, b'"}')),
    "JSON, base64 in lines": Attack(
        "/v1/mask", {}, lambda: _repeat(b'{"image":"', JUNK[:76] + b"\\n", b'"}')
    ),
    "urlencoded, escapes": Attack("/v1.0/removebg", FORM, lambda: _repeat(b"a=", b"%41", b"")),
    "urlencoded, base64 escaped": Attack(
        "/v1.0/removebg", FORM, lambda: _repeat(b"image_file_b64=", b"%41", b"")
    ),
    "tensor of numbers": Attack("/v2/models/u2netp/infer", {}, lambda: _tensor(b"1", 1800, b"]}]}")),
    "tensor of texts": Attack("/v2/models/u2netp/infer", {}, _tensor_of_texts),
    "response of 30 MB in JSON": Attack(
        "/v1/cutout?matting=none&background=white",
        {"Content-Type": "image/jpeg", "Accept": "application/json"},
        _picture,
        2,
    ),
}


if __name__ == "__main__":
    main()

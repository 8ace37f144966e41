"""Faults of the machine and of the network: correct responses meanwhile, and full recovery."""

import random
import re
import resource
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.journeys.conftest import Server
from tests.pictures import jpeg, noise, photo, png

pytestmark = [pytest.mark.journey, pytest.mark.skipif(sys.platform != "linux", reason="prlimit, /proc")]
Serve = Callable[..., Server]
UPLOAD = jpeg(photo(120, 160))
RECOVERS_S = 30


@contextmanager
def limited(server: Server, resource_id: int, value: int) -> Iterator[None]:
    """Limit a resource of the server process to ``value`` during the block."""
    soft, hard = resource.prlimit(server.process.pid, resource_id)
    resource.prlimit(server.process.pid, resource_id, (value, hard))
    yield
    resource.prlimit(server.process.pid, resource_id, (soft, hard))


def attempts_until_recovered(url: str) -> int:
    """Return the number of failed requests until one succeeds."""
    until_s = time.monotonic() + RECOVERS_S
    for attempt in range(1_000_000):
        try:
            if httpx.post(f"{url}/v1/cutout", content=UPLOAD, timeout=60).status_code == 200:
                return attempt
        except httpx.TransportError:
            pass
        assert time.monotonic() < until_s
        time.sleep(0.05)
    raise AssertionError


def test_a_full_disk_affects_no_request(serve: Serve) -> None:
    """Only log lines are written, and a line that cannot be written affects nothing else."""
    with Path("/dev/full").open("w") as full:
        server = serve("--model", "u2netp", stderr=full, TMPDIR="/nonexistent")
        url = server.url
        large = png(noise((1200, 1000, 3)))
        with limited(server, resource.RLIMIT_FSIZE, 0):
            responses = (
                httpx.post(f"{url}/v1/cutout", content=UPLOAD, timeout=60),
                httpx.post(f"{url}/v1/cutout", files={"image": large}, timeout=60),
                httpx.post(f"{url}/v1/mask", content=large, timeout=60),
                httpx.post(f"{url}/v1/mask", content=b"nothing", timeout=60),
            )
        assert [200, 200, 200, 415] == [response.status_code for response in responses]
        assert server.stop() == 0


def test_without_descriptors_the_server_waits_and_does_not_spin(serve: Serve) -> None:
    server = serve("--model", "u2netp", CUTOUT_LIMITS__HEAD_TIMEOUT_S="60")
    address, _, port = server.url.removeprefix("http://").rpartition(":")
    with ExitStack() as connections, limited(server, resource.RLIMIT_NOFILE, 128):
        for number in range(200):  # fifty of each address, the limit
            source = (f"127.0.0.{10 + number // 50}", 0)
            connections.enter_context(socket.create_connection((address, int(port)), 10, source))
        time.sleep(0.5)
        before_s = _cpu_s(server)
        time.sleep(2)
        spent_s = _cpu_s(server) - before_s

    assert spent_s < 1
    assert attempts_until_recovered(f"http://{address}:{port}") < RECOVERS_S * 20
    assert server.stop() == 0


def test_without_memory_requests_get_503_and_the_server_recovers(serve: Serve) -> None:
    """The memory is enough for the uploads, but not for the decoded pictures."""
    server = serve("--model", "u2netp")
    url = server.url
    assert httpx.post(f"{url}/v1/cutout", content=UPLOAD, timeout=60).status_code == 200
    upload = jpeg(np.full((5000, 6000, 3), 90, np.uint8))  # a small upload, and 90 MB when decoded
    statuses: Counter[tuple[int, str | None]] = Counter()

    def post(number: int) -> None:
        path = f"{url}/v1/{('cutout', 'mask')[number % 2]}"
        response = httpx.post(path, content=upload, timeout=120)
        statuses[response.status_code, response.headers.get("retry-after")] += 1

    maximum = _status_bytes(server, "VmSize") + 60 * 2**20
    with limited(server, resource.RLIMIT_AS, maximum), ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(10)))

    assert statuses == {(503, "1"): 10}
    assert attempts_until_recovered(url) == 0
    assert server.stop() == 0
    assert not any("Traceback" in line for line in server.stderr)


def test_disconnects_at_any_moment_leak_nothing(serve: Serve) -> None:
    server = serve("--model", "u2netp")
    url = server.url
    metrics = server.wait_for(r"Metrics\s+(\S+)")
    host, _, port = url.removeprefix("http://").rpartition(":")
    head = f"POST /v1/cutout HTTP/1.1\r\nHost: x\r\nContent-Length: {len(UPLOAD)}\r\n\r\n".encode()
    rng = random.Random(0)
    timings = [(rng.random() * 1.5, rng.random() if number % 4 == 0 else 1.0) for number in range(64)]

    def connect_and_disconnect(timing: tuple[float, float]) -> None:
        duration_s, part = timing
        with socket.create_connection((host, int(port)), 30) as client:
            client.sendall((head + UPLOAD)[: int(part * len(head + UPLOAD))])
            time.sleep(duration_s)
            if duration_s < 0.75:  # close with a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(connect_and_disconnect, timings))
    until_s = time.monotonic() + RECOVERS_S
    while _in_flight(metrics) > 0:
        assert time.monotonic() < until_s
        time.sleep(0.05)

    assert attempts_until_recovered(url) == 0
    assert server.stop() == 0
    assert not any("Traceback" in line for line in server.stderr)
    assert any("client-disconnected" in line for line in server.stderr)


def _in_flight(metrics_url: str) -> float:
    text = httpx.get(metrics_url).text
    return float(re.findall(r"^cutout_inflight_requests (\S+)$", text, re.MULTILINE)[0])


def _status_bytes(server: Server, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _cpu_s(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100

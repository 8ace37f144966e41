"""Shutdown of the server process, with generous time limits for slow machines."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from tests.journeys.conftest import Server
from tests.journeys.processes import (
    connection,
    events,
    stalled_upload,
)
from tests.pictures import jpeg, noise, photo

pytestmark = pytest.mark.journey
Serve = Callable[..., Server]
UPLOAD = jpeg(photo(120, 160))
DELAY_S = 4.0


@dataclass(frozen=True)
class Attempt:
    """One request of a client: its start, and its status or the error of the connection."""

    begun_s: float
    status: int | str
    closes_connection: bool


class Load:
    """Keep-alive clients, each of which sends the next request as soon as it has a response."""

    def __init__(self, url: str, clients: int) -> None:
        self.attempts: list[Attempt] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as client:
            while not self._stop.is_set():
                begun_s = time.monotonic()
                try:
                    response = client.post("/v1/mask", content=UPLOAD)
                except httpx.TransportError as error:
                    self.attempts.append(Attempt(begun_s, type(error).__name__, closes_connection=False))
                    continue
                closes_connection = response.headers.get("connection") == "close"
                self.attempts.append(
                    Attempt(begun_s, response.status_code, closes_connection=closes_connection)
                )

    def stop(self) -> list[Attempt]:
        """Stop the clients, and return their requests."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        return self.attempts


def slow_reader(url: str) -> socket.socket:
    """Request a response larger than all buffers, and read only its first line."""
    grain = noise((2000, 3000, 3)) // 4
    upload = jpeg(photo(2000, 3000) // 2 + grain, quality=95)
    peer = connection(url, receives_bytes=4096)
    head = "POST /v1/cutout?matting=none HTTP/1.1\r\nHost: x\r\n"
    peer.sendall(f"{head}Content-Length: {len(upload)}\r\n\r\n".encode() + upload)
    assert peer.recv(100).startswith(b"HTTP/1.1 200")
    return peer


@pytest.mark.parametrize("supervise", ["--no-supervise", "--supervise"])
def test_a_shutdown_under_load_loses_no_request_and_refuses_none_too_early(
    serve: Serve, supervise: str
) -> None:
    """Requests from the first half of the delay must succeed; the other half allows for a slow machine."""
    server = serve(supervise, "--model", "u2netp", CUTOUT_LIFECYCLE__DRAIN_DELAY_S=str(DELAY_S))
    url = server.url
    load = Load(url, clients=4)
    time.sleep(0.5)
    stopped_s = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    ready, alive = httpx.get(f"{url}/readyz"), httpx.get(f"{url}/livez")
    code = server.process.wait(120)
    lasted_s = time.monotonic() - stopped_s
    attempts = load.stop()
    accepted = [attempt for attempt in attempts if attempt.begun_s < stopped_s + DELAY_S / 2]
    leaving = [attempt for attempt in accepted if attempt.begun_s > stopped_s + 0.1]

    assert (ready.status_code, ready.json()["type"]) == (503, "/problems/not-ready")
    assert alive.status_code == 200
    assert len(leaving) >= 2
    assert {attempt.status for attempt in accepted} == {200}
    assert all(attempt.closes_connection for attempt in leaving)
    assert code == 0
    assert lasted_s >= DELAY_S


def test_stalled_clients_do_not_delay_the_exit(serve: Serve) -> None:
    server = serve("--model", "u2netp", CUTOUT_LIFECYCLE__DRAIN_TIMEOUT_S="1")
    url = server.url
    reader = slow_reader(url)
    peer = stalled_upload(url)
    stopped_s = time.monotonic()
    code = server.stop()
    lasted_s = time.monotonic() - stopped_s
    response = peer.recv(10_000)
    reader.close()

    assert code == 0
    assert lasted_s >= 1
    assert response.startswith(b"HTTP/1.1 503")
    assert b"connection: close" in response.lower()
    assert [line["lost"] for line in events(server, "requests cancelled at the end of the drain")] == [2]


def test_after_the_delay_new_requests_are_refused_and_accepted_ones_finish(
    serve: Serve,
) -> None:
    server = serve("--model", "u2netp", CUTOUT_LIFECYCLE__DRAIN_TIMEOUT_S="60")
    url = server.url
    peer = stalled_upload(url)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    refused = httpx.post(f"{url}/v1/mask", content=bytes(3_000_000))
    alive = httpx.get(f"{url}/livez")
    peer.sendall(bytes(1000 - len(b"never whole")))
    response = peer.recv(10_000)

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/not-ready")
    assert (refused.headers["connection"], int(refused.headers["retry-after"]) > 0) == ("close", True)
    assert (alive.status_code, alive.headers["connection"]) == (200, "close")
    assert response.startswith(b"HTTP/1.1 415")
    assert server.process.wait(120) == 0


@pytest.mark.parametrize("supervise", ["--no-supervise", "--supervise"])
def test_a_second_signal_exits_at_once_and_logs_the_lost_requests(serve: Serve, supervise: str) -> None:
    server = serve(supervise, "--model", "u2netp", CUTOUT_LIFECYCLE__DRAIN_DELAY_S="300")
    peer = stalled_upload(server.url)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    stopped_s = time.monotonic()
    code = server.stop()
    lasted_s = time.monotonic() - stopped_s
    server.wait_for("second signal: exiting now")
    peer.close()

    assert code == 1
    assert lasted_s < 150  # of a delay of 300
    assert [line["lost"] for line in events(server, "second signal: exiting now")] == [1]


def test_ctrl_c_skips_the_drain_delay(serve: Serve) -> None:
    server = serve("--model", "u2netp", CUTOUT_LIFECYCLE__DRAIN_DELAY_S="60")
    assert server.url

    assert server.stop(signal.SIGINT) == 0

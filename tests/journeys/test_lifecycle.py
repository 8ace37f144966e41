"""Shutdown and restart of the server process, with generous time limits for slow machines."""

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.journeys.conftest import Server
from tests.networks import hanging_model
from tests.pictures import jpeg, noise, photo, png

pytestmark = pytest.mark.journey
Serve = Callable[..., Server]
UPLOAD = jpeg(photo(120, 160))
DELAY_S = 4.0
# The server process and the supervisor's libraries are found through /proc.
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


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


def stalled_upload(url: str) -> socket.socket:
    """Start a request whose body never arrives; return when the server waits for the body."""
    peer = connection(url)
    peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    assert peer.recv(1000).startswith(b"HTTP/1.1 100")
    peer.sendall(b"never whole")
    return peer


def connection(url: str, *, receives_bytes: int | None = None) -> socket.socket:
    address = httpx.URL(url)
    peer = socket.socket()
    if receives_bytes is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
    peer.settimeout(120)
    peer.connect((address.host, address.port))
    return peer


def slow_reader(url: str) -> socket.socket:
    """Request a response larger than all buffers, and read only its first line."""
    grain = noise((2000, 3000, 3)) // 4
    upload = jpeg(photo(2000, 3000) // 2 + grain, quality=95)
    peer = connection(url, receives_bytes=4096)
    head = "POST /v1/cutout?matting=none HTTP/1.1\r\nHost: x\r\n"
    peer.sendall(f"{head}Content-Length: {len(upload)}\r\n\r\n".encode() + upload)
    assert peer.recv(100).startswith(b"HTTP/1.1 200")
    return peer


def server_process_of(server: Server) -> int:
    """Return the process id of a supervised server process."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def has_ended(process_id: int, *, within_s: float = 120) -> bool:
    give_up_at_s = time.monotonic() + within_s
    while time.monotonic() < give_up_at_s:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # exited, but its parent has not waited for it
            return True
        time.sleep(0.05)
    return False


def events(server: Server, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.stderr if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


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


def was_cut_off(peer: socket.socket) -> bool:
    """Return whether the server has closed the connection; it is a reset only if bytes were left unread."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


@on_linux
def test_a_killed_server_process_is_restarted_and_waiting_requests_are_served(serve: Serve) -> None:
    server = serve("--supervise", "--model", "u2netp")
    url = server.url
    first = server_process_of(server)
    peer = stalled_upload(url)
    os.kill(first, signal.SIGKILL)
    responses = [httpx.post(f"{url}/v1/mask", content=UPLOAD, timeout=120).status_code for _ in range(3)]
    server.wait_for("Cutout listens on")
    metrics_url = [m.group(1) for line in server.stdout if (m := re.search(r"Metrics\s+(\S+)", line))][-1]

    assert was_cut_off(peer)
    assert responses == [200, 200, 200]
    assert server_process_of(server) != first
    assert 'cutout_engine_restarts_total{reason="ended"} 1.0' in httpx.get(metrics_url).text
    assert [line["restarts"] for line in events(server, "restarting the server process")] == [1]
    assert server.stop() == 0


@on_linux
def test_a_hanging_run_turns_livez_red_and_the_process_is_restarted(serve: Serve, tmp_path: Path) -> None:
    hanging_model(tmp_path)
    server = serve("--supervise", "--model", "hangs", models=tmp_path)
    url = server.url
    healthy = httpx.post(f"{url}/v1/mask", content=UPLOAD, timeout=120)
    peer = connection(url)
    white = png(np.full((40, 40, 3), 255, np.uint8))
    peer.sendall(
        f"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: {len(white)}\r\n\r\n".encode() + white
    )
    give_up_at_s = time.monotonic() + 120
    while (alive := httpx.get(f"{url}/livez", timeout=120)).status_code == 200:
        assert time.monotonic() < give_up_at_s
        time.sleep(0.05)
    server.wait_for("restarting the server process")
    again = httpx.post(f"{url}/v1/mask", content=UPLOAD, timeout=120)

    assert (healthy.status_code, again.status_code) == (200, 200)
    assert (alive.status_code, alive.json()["type"]) == (503, "/problems/not-ready")
    assert was_cut_off(peer)
    assert [line["why"] for line in events(server, "restarting the server process")] == ["its executor hangs"]
    assert server.stop() == 0


@on_linux
def test_a_server_process_without_heartbeats_is_restarted(serve: Serve) -> None:
    server = serve("--supervise", "--model", "u2netp", CUTOUT_LIFECYCLE__HANG_TIMEOUT_S="5")
    url = server.url
    first = server_process_of(server)
    os.kill(first, signal.SIGSTOP)

    assert httpx.post(f"{url}/v1/mask", content=UPLOAD, timeout=120).status_code == 200
    assert has_ended(first)
    assert [line["why"] for line in events(server, "restarting the server process")] == [
        "it sent no heartbeat"
    ]
    assert server.stop() == 0


@on_linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_supervisor_stops_the_server_process(serve: Serve, number: int) -> None:
    server = serve("--supervise", "--model", "u2netp")
    assert server.url
    process_id = server_process_of(server)

    assert server.stop(number) == 0
    assert has_ended(process_id)


@on_linux
def test_the_server_process_exits_after_its_supervisor_is_killed(serve: Serve) -> None:
    server = serve("--supervise", "--model", "u2netp")
    assert server.url
    process_id = server_process_of(server)
    server.stop(signal.SIGKILL)

    assert has_ended(process_id)


def test_a_server_process_that_cannot_start_ends_the_supervisor(serve: Serve, damaged_models: Path) -> None:
    server = serve("--supervise", "--model", "broken", models=damaged_models)

    assert server.process.wait(120) == 3
    assert events(server, "restarting the server process") == []


@pytest.mark.parametrize("setting", ["CUTOUT_WEB__METRICS_PORT", "CUTOUT_WEB__PORT"])
def test_a_port_in_use_ends_the_supervisor_with_one_line(serve: Serve, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = ("--port", port) if setting == "CUTOUT_WEB__PORT" else ()
        server = serve("--supervise", *arguments, **{setting: port})

        assert server.process.wait(120) == 1
    assert re.fullmatch(rf"cutout: cannot .* port {port}: .*", "".join(server.stderr))


@on_linux
def test_the_supervisor_loads_no_large_library(serve: Serve) -> None:
    server = serve("--supervise", "--model", "u2netp")
    assert server.url
    maps = [
        Path(f"/proc/{process}/maps").read_text()
        for process in (server.process.pid, server_process_of(server))
    ]
    large = [set(re.findall(r"site-packages/(onnxruntime|cv2|numpy)/", text)) for text in maps]

    assert large == [set(), {"onnxruntime", "cv2", "numpy"}]

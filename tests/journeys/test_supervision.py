"""Restarts of the server process by its supervisor, and their common end."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.journeys.conftest import Server
from tests.journeys.processes import (
    connection,
    events,
    has_ended,
    on_linux,
    server_process_of,
    stalled_upload,
    was_cut_off,
)
from tests.networks import hanging_model
from tests.pictures import jpeg, photo, png

pytestmark = pytest.mark.journey
Serve = Callable[..., Server]
UPLOAD = jpeg(photo(120, 160))


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

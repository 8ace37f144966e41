"""Startup: two servers on one port, signals during the startup, and closed outputs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import CUTOUT, ROOT, Server, free_port

pytestmark = [pytest.mark.journey, pytest.mark.skipif(sys.platform == "win32", reason="signals")]
Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def served_models(models_dir: Path) -> Path:
    """The exported models: these tests judge the service as it is installed."""
    return models_dir


@pytest.mark.parametrize("arguments", [(), ("--supervise",), ("--host", "::1")], ids=str)
def test_one_of_two_servers_on_the_same_port_exits_with_a_message(
    serve: Serve, arguments: tuple[str, ...]
) -> None:
    port = str(free_port())
    both = [serve(*arguments, "--model", "u2netp", "--port", port) for _ in range(2)]
    until_s = time.monotonic() + 60
    while all(server.process.poll() is None for server in both):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    loser, winner = sorted(both, key=lambda server: server.process.poll() is None)

    assert loser.process.wait(60) == 1
    assert re.fullmatch(rf"cutout: cannot listen on \S+ port {port}: .*", "".join(loser.stderr))
    assert httpx.get(f"{winner.url}/readyz", timeout=60).status_code == 200
    assert winner.stop() == 0


@pytest.mark.parametrize("supervise", ["--no-supervise", "--supervise"])
@pytest.mark.parametrize(
    ("number", "after_s"),
    [(signal.SIGINT, 0.3), (signal.SIGTERM, 0.8), (signal.SIGHUP, 1.5), (signal.SIGINT, 2.5)],
)
def test_a_server_stopped_during_startup_exits_with_0(
    serve: Serve, number: signal.Signals, supervise: str, after_s: float
) -> None:
    """Whether it is importing, loading or ready."""
    server = serve(supervise, "--model", "u2net")
    time.sleep(after_s)

    assert server.stop(number) == 0
    assert not any("Traceback" in line or "╭" in line for line in server.stderr)


@pytest.mark.parametrize("supervise", ["--no-supervise", "--supervise"])
def test_sighup_drains_a_server(serve: Serve, supervise: str) -> None:
    server = serve(supervise, "--model", "u2netp")
    assert server.url
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("draining")

    assert server.process.wait(60) == 0


def test_a_server_under_nohup_ignores_sighup() -> None:
    # Ignored before the exec, like nohup; restored at once for the other tests.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server = Server("--supervise", "--model", "u2netp", environment={})
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        url = server.url
        for _ in range(3):
            server.process.send_signal(signal.SIGHUP)
            assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("after_s", [0.3, 1.5, 2.5])
def test_a_command_exits_at_once_on_ctrl_c(after_s: float) -> None:
    arguments = (
        "remove",
        "--model",
        "u2net",
        "docs/images/astronaut.jpg",
        "/dev/null/x.png",
    )
    command = subprocess.Popen([str(CUTOUT), *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)
    command.send_signal(signal.SIGINT)
    _, stderr = command.communicate(timeout=60)

    assert command.returncode == 130 or "/dev/null/x.png" in stderr  # it finished before the signal
    assert "Traceback" not in stderr


@pytest.mark.parametrize("command", ["models list", "models verify", "keys new name", "--help"])
def test_a_closed_stdout_ends_a_command_without_a_traceback(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [str(CUTOUT), *command.split()], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)

    assert ended.returncode == 1
    assert not re.search("Traceback|Exception|BrokenPipe", ended.stderr)


def test_a_server_with_closed_output_continues_to_serve() -> None:
    port = free_port()
    reading, writing = os.pipe()
    os.close(reading)
    command = [str(CUTOUT), "serve", "--model", "u2netp", "--port", str(port)]
    environment = {**os.environ, "CUTOUT_WEB__METRICS_PORT": "none", "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": "0"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=writing, stderr=writing)
    os.close(writing)
    url = f"http://127.0.0.1:{port}"
    until_s = time.monotonic() + 60
    status = 0
    while status != 200:
        assert time.monotonic() < until_s
        try:
            status = httpx.get(f"{url}/readyz", timeout=60).status_code
        except httpx.TransportError:
            time.sleep(0.05)

    statuses = [httpx.get(f"{url}/v1/models", timeout=60).status_code for _ in range(5)]
    server.terminate()

    assert statuses == [200] * 5
    assert server.wait(60) == 0


def test_the_metrics_page_is_served_from_the_start_until_the_exit(serve: Serve) -> None:
    port = free_port()
    server = serve(
        "--model",
        "u2net",
        CUTOUT_WEB__METRICS_PORT=str(port),
        CUTOUT_LIFECYCLE__DRAIN_DELAY_S="3",
    )
    url = f"http://127.0.0.1:{port}/metrics"
    until_s = time.monotonic() + 60
    first = None
    while first is None:
        assert time.monotonic() < until_s
        try:
            first = httpx.get(url, timeout=60)
        except httpx.TransportError:
            time.sleep(0.02)
    assert server.url
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    last = httpx.get(url, timeout=60)

    assert "cutout_ready 0.0" in first.text
    assert "cutout_draining 1.0" in last.text
    assert server.process.wait(60) == 0


def test_at_a_terminal_a_failed_start_ends_with_the_reason_and_the_command(serve: Serve) -> None:
    terminal, other_end = os.openpty()
    server = serve("--model", "nope", stderr=other_end)
    assert 3 == server.process.wait(60)
    os.close(other_end)
    last = os.read(terminal, 65536).decode().splitlines()[-1]
    os.close(terminal)

    assert last.startswith("cutout: ")
    assert "nope/manifest.json is missing; run: cutout models add nope" in last

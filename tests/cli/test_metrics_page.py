"""The metrics page on a real socket: its responses, its connection limit and its deadlines."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.metrics_page import MAX_CONNECTIONS, MetricsPage, open_page
from app.cli.worker import serve_metrics
from app.engine.clock import SystemClock
from app.main import create_app
from app.settings import Settings, Web
from app.telemetry import Telemetry
from app.web.connection_limits import ConnectionLimits

pytestmark = pytest.mark.process
HEAD_TIMEOUT_S = 1.0


@pytest.fixture
def page() -> Iterator[MetricsPage]:
    """A page that is served in a thread."""
    connection_limits = ConnectionLimits(SystemClock(), HEAD_TIMEOUT_S, 5.0, None, lambda _: None)
    page = open_page(Web(metrics_port=0), Telemetry().registry, connection_limits)
    assert page is not None
    stop = threading.Event()

    async def serve() -> None:
        serving = asyncio.create_task(page.serve())
        await asyncio.to_thread(stop.wait)
        serving.cancel()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    yield page
    stop.set()
    thread.join(30)


def connected(page: MetricsPage) -> socket.socket:
    address = httpx.URL(page.url)
    return socket.create_connection((address.host, address.port or 0), timeout=30)


def first_line(peer: socket.socket) -> bytes:
    """Return the first line of the response, or nothing if the connection was closed without one."""
    try:
        return peer.recv(1000).partition(b"\r\n")[0]
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/metrics?name[]=x", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/v1/mask", 404),
        ("POST", "/v1/mask", 404),
    ],
)
def test_only_the_metrics_path_is_served(page: MetricsPage, method: str, path: str, status: int) -> None:
    response = httpx.request(method, f"{page.url.removesuffix('/metrics')}{path}", timeout=30)

    assert response.status_code == status
    assert ("cutout_ready" in response.text) == (status == 200 and method == "GET")


def test_openmetrics_is_served_on_request(page: MetricsPage) -> None:
    headers = {"Accept": "application/openmetrics-text;version=1.0.0"}
    plain, other = httpx.get(page.url, timeout=30), httpx.get(page.url, headers=headers, timeout=30)

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert other.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.text.endswith("# EOF\n")


def test_connections_over_the_limit_are_refused(page: MetricsPage) -> None:
    with httpx.Client(timeout=30) as client:
        client.get(page.url).raise_for_status()  # the page is being served now
    peers = [connected(page) for _ in range(4 * MAX_CONNECTIONS)]
    try:
        lines = [first_line(peer) for peer in peers]
    finally:
        for peer in peers:
            peer.close()

    assert set(lines) <= {b"HTTP/1.1 503 Service Unavailable", b"HTTP/1.1 408 ", b""}
    assert sum(line.startswith(b"HTTP/1.1 408") for line in lines) <= MAX_CONNECTIONS
    assert sum(line.startswith(b"HTTP/1.1 503") for line in lines) >= 2 * MAX_CONNECTIONS


def test_silent_clients_are_closed_and_others_are_served(page: MetricsPage) -> None:
    peers = [connected(page) for _ in range(MAX_CONNECTIONS)]
    until_s = time.monotonic() + 60
    status = 0
    while status != 200:
        assert time.monotonic() < until_s
        try:
            status = httpx.get(page.url, timeout=30).status_code
        except httpx.TransportError:
            status = 0
        time.sleep(0.05)

    assert [first_line(peer)[:12] for peer in peers] == [b"HTTP/1.1 408"] * MAX_CONNECTIONS
    for peer in peers:
        peer.close()


def test_concurrent_requests_all_get_the_page(page: MetricsPage) -> None:
    async def get_concurrently() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(client.get(page.url) for _ in range(MAX_CONNECTIONS)))

    responses = asyncio.run(get_concurrently())

    assert {response.status_code for response in responses} == {200}
    assert all("cutout_ready" in response.text for response in responses)


def test_a_metrics_port_in_use_is_reported_with_a_remedy() -> None:
    connection_limits = ConnectionLimits(SystemClock(), HEAD_TIMEOUT_S, 5.0, None, lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot serve metrics on 127.0.0.1 port {port}: .*METRICS_PORT"):
            open_page(Web(metrics_port=port), Telemetry().registry, connection_limits)


def test_the_metrics_page_can_be_disabled() -> None:
    connection_limits = ConnectionLimits(SystemClock(), HEAD_TIMEOUT_S, 5.0, None, lambda _: None)

    assert open_page(Web(metrics_port=None), Telemetry().registry, connection_limits) is None


def test_serve_metrics_runs_in_its_own_thread(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path, web={"metrics_port": 0})
    url = serve_metrics(create_app(settings).state.service)
    assert url is not None

    assert "cutout_ready 0.0" in httpx.get(url, timeout=60).text

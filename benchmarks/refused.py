"""Refused: do uploading clients receive the response when they are refused, directly and through proxies?

    python -m benchmarks.refused [--tries 30] [--at-once 200]

The server requires an API key. Each installed client (curl, node's fetch, Java's HttpClient, requests, httpx)
sends 8 and 22 MB without a valid key (401) and 22 MB with a valid key (413, over the limit of 20 MiB),
directly and through nginx (with its defaults, and unbuffered with keep-alive) and Caddy; a response that the
client does not receive counts as lost. A slow uploader shows which resources are held after its 408, and many
uploads at once show the cost in memory and latency.

nginx, Caddy, node and Java are used if installed (Debian: nginx-light, caddy, nodejs, default-jdk-headless).
"""

import argparse
import asyncio
import getpass
import hashlib
import itertools
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.client import Client, Shot
from benchmarks.load import open_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments
from benchmarks.upload_clients import CROWD, run_all, upload_clients

KEY = "benchmark"
BODY_S = 4.0
REFUSALS = ((8_000_000, "no", 401), (22_000_000, "no", 401), (22_000_000, KEY, 413))

NGINX = """
user {user};
pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 100m;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  upstream kept {{ server {upstream}; keepalive 16; }}
  server {{ listen 127.0.0.1:{plain}; location / {{ proxy_pass http://{upstream}; }} }}
  server {{ listen 127.0.0.1:{direct}; location / {{
    proxy_pass http://kept; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_request_buffering off; }} }}
}}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy {upstream}
}}
"""


def main() -> None:
    """Print the tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--only", choices=("responses", "slow", "crowd"))
    parser.add_argument("--clients", default="", help="clients whose name holds this")
    parser.add_argument("--routes", default="", help="routes whose name holds this")
    args = parser.parse_args()
    print_machine()
    figures: list[Figure] = []
    settings = {
        "CUTOUT_ACCESS__KEY_HASHES": hashlib.sha256(KEY.encode()).hexdigest(),
        "CUTOUT_LIMITS__UPLOAD_TIMEOUT_S": str(BODY_S),
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Server(args.model, args.models_dir, settings))
        if args.only in (None, "responses"):
            figures += _measure_refusals(stack, server, folder, args)
        if args.only in (None, "slow"):
            figures += _slow_uploader(server)
        if args.only in (None, "crowd"):
            figures += asyncio.run(_measure_crowd(server, args.at_once))
    print_figures(figures)


def _measure_refusals(
    stack: ExitStack, server: Server, folder: Path, args: argparse.Namespace
) -> Iterator[Figure]:
    """Send refused uploads from every client on every route, and count the responses received."""
    rows, tries = [], args.tries
    routes = {"direct": server.port, **_proxies(stack, server, folder)}
    pairs = itertools.product(upload_clients(folder).items(), routes.items())
    for (client, command), (route, port) in pairs:
        if args.clients in client and args.routes in route:
            columns = []
            for size_bytes, key, status in REFUSALS:
                url = f"http://127.0.0.1:{port}/v1/cutout"
                lines = run_all(command(url, size_bytes, key, tries))
                received = sum(line.split()[0] == str(status) for line in lines)
                columns.append(f"{received}/{tries}")
                if received < tries:
                    columns[-1] += f" ({next(line for line in lines if line.split()[0] != str(status))})"
            rows.append((client, route, *columns))
    print_table(("client", "through", "401 of 8 MB", "401 of 22 MB", "413 of 22 MB"), rows)
    lost = sum(not text.startswith(f"{tries}/") for columns in rows for text in columns[2:])
    yield Figure("clients, routes and refusals with lost responses", lost, 0)


def _proxies(stack: ExitStack, server: Server, folder: Path) -> dict[str, int]:
    """Start the installed proxies, and return their ports."""
    ports: dict[str, int] = {}
    upstream = f"127.0.0.1:{server.port}"
    if shutil.which("nginx"):
        names = ("nginx", "nginx, unbuffered, keep-alive")
        ports |= dict(zip(names, (_free_port(), _free_port()), strict=True))
        text = NGINX.format(
            folder=folder,
            user=getpass.getuser(),
            upstream=upstream,
            plain=ports[names[0]],
            direct=ports[names[1]],
        )
        (folder / "nginx.conf").write_text(text)
        stack.enter_context(_running("nginx", "-g", "daemon off;", "-c", str(folder / "nginx.conf")))
    if shutil.which("caddy"):
        ports["Caddy"] = _free_port()
        (folder / "Caddyfile").write_text(CADDY.format(port=ports["Caddy"], upstream=upstream))
        stack.enter_context(_running("caddy", "run", "--config", str(folder / "Caddyfile")))
    for port in ports.values():
        _wait_for(port)
    return ports


@contextmanager
def _running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit("a proxy did not start")


def _slow_uploader(server: Server) -> Iterator[Figure]:
    """Send a body slowly, and count the requests in flight after its deadline."""
    with socket.create_connection((server.host, server.port), timeout=60) as slow:
        head = f"POST /v1/cutout HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Length: 5000000\r\n\r\n"
        slow.sendall(head.encode())
        began_s = time.monotonic()
        in_flight: list[float] = []
        with suppress(OSError):
            while time.monotonic() - began_s < BODY_S + 10:
                slow.sendall(b".")
                if time.monotonic() - began_s > BODY_S + 0.5:
                    in_flight.append(server.metrics()["cutout_inflight_requests"])
                time.sleep(0.1)
        open_s = time.monotonic() - began_s
    yield Figure(
        "requests in flight half a second after a slow upload's deadline", max(in_flight, default=0.0), 0
    )
    yield Figure("time that it stays connected after its deadline", open_s - BODY_S, 1.5, " s")


async def _measure_crowd(server: Server, at_once: int) -> list[Figure]:
    """Refuse many uploads at once, and measure memory and the latency of a client with a key."""
    shot = Shot("/v1/mask", jpeg_photo(0.3), (("Content-Type", "image/jpeg"), ("X-Api-Key", KEY)))
    client = Client(server.host, server.port)
    await open_loop(client, lambda _: shot, rate=1, seconds=3)
    alone = await open_loop(client, lambda _: shot, rate=1, seconds=20)
    before_bytes = server.rss_bytes()
    server.forget_peak()
    crowd = await asyncio.create_subprocess_exec(
        *("nice", "-n", "10", sys.executable, "-c", CROWD, server.host, str(server.port), str(at_once)),
        stdout=asyncio.subprocess.PIPE,
    )
    under_attack = await open_loop(client, lambda _: shot, rate=1, seconds=20)
    lines, _ = await crowd.communicate()
    closed = server.metrics().get("cutout_connections_closed_total,reason=slow-body", 0.0)
    await client.close()
    sent, received = map(int, lines.split())
    rows = [
        (
            name,
            str(len(results)),
            *(f"{percentile([r.latency_s for r in results], q) * 1e3:.0f} ms" for q in (50, 99)),
        )
        for name, results in (("alone", alone), (f"with {at_once} refused uploads", under_attack))
    ]
    print_table(("healthy client", "requests", "p50", "p99"), rows)
    ratio = percentile([r.latency_s for r in under_attack], 99) / percentile([r.latency_s for r in alone], 99)
    return [
        Figure("errors of the healthy client", sum(result.status != 200 for result in under_attack), 0),
        Figure("its p99, of that alone", ratio, 2, " ×"),
        Figure(f"of {sent} refused uploads of 8 MB, responses lost", sent - received, 0),
        # At the lowest priority a client may not run for longer than the server waits for its close.
        Figure("connections closed while lingering", 100 * closed / sent, 1, " %"),
        Figure("growth of memory", (server.peak_bytes() - before_bytes) / 2**20, 32, " MiB"),
    ]


if __name__ == "__main__":
    main()

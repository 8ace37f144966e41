"""Refused: does a client that uploads read why it was refused, whatever it is and whatever stands in between?

    python -m benchmarks.refused [--tries 30] [--at-once 200]

The server asks for a key. Each client there is here (curl, node's fetch, Java's HttpClient, requests, httpx)
sends 8 and 22 MB without one (401) and 22 MB with one (413, over the limit of 20 MiB), straight and through
nginx (as it is, and unbuffered with connections kept) and Caddy; an answer that is not read counts as lost. A
slow uploader shows what is held after its 408, and many uploads at once what they take of memory and time.

nginx, Caddy, node and Java are used where they are installed (Debian: nginx-light, caddy, nodejs,
default-jdk-headless).
"""

import argparse
import asyncio
import getpass
import hashlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.client import Client, Shot
from benchmarks.load import open_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

KEY = "benchmark"
BODY_S = 4.0
REFUSALS = ((8_000_000, "no", 401), (22_000_000, "no", 401), (22_000_000, KEY, 413))

NODE = """
const [url, size, key, tries] = process.argv.slice(2);
const blob = new Blob([new Uint8Array(Number(size)).fill(7)], {type: "image/jpeg"});
for (let i = 0; i < Number(tries); i++) {
  const form = new FormData();
  form.append("image", blob, "a.jpg");
  try {
    const answer = await fetch(url, {method: "POST", body: form, headers: {"X-Api-Key": key}});
    await answer.text();
    console.log(answer.status);
  } catch (error) { console.log(0, error.cause?.code ?? error.message); }
}
"""
JAVA = """
import java.net.URI;
import java.net.http.*;
public class Refused {
  public static void main(String[] told) throws Exception {
    var client = HttpClient.newHttpClient();
    for (int i = 0; i < Integer.parseInt(told[3]); i++) {
      var request = HttpRequest.newBuilder(URI.create(told[0])).header("X-Api-Key", told[2])
        .header("Content-Type", "image/jpeg")
        .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[Integer.parseInt(told[1])])).build();
      try { System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode()); }
      catch (java.io.IOException error) { System.out.println("0 " + error); }
    }
  }
}
"""
REQUESTS = """
import sys, {library} as library
url, size, key, tries = sys.argv[1:]
for _ in range(int(tries)):
    try:
        files = {{"image": ("a.jpg", bytes(int(size)), "image/jpeg")}}
        print(library.post(url, files=files, headers={{"X-Api-Key": key}}, timeout=60).status_code)
    except Exception as error:
        print(0, type(error).__name__)
"""
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
    parser.add_argument("--only", choices=("answers", "slow", "crowd"))
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
        if args.only in (None, "answers"):
            figures += _answers(stack, server, folder, args.tries)
        if args.only in (None, "slow"):
            figures += _slow_uploader(server)
        if args.only in (None, "crowd"):
            figures += asyncio.run(_crowd(server, args.at_once))
    print_figures(figures)


def _answers(stack: ExitStack, server: Server, folder: Path, tries: int) -> Iterator[Figure]:
    """Let every client be refused by every way there is."""
    rows = []
    ways = {"straight": server.port, **_proxies(stack, server, folder)}
    for client, command in _clients(folder).items():
        for way, port in ways.items():
            row = []
            for size_bytes, key, status in (
                (8_000_000, "no", 401),
                (22_000_000, "no", 401),
                (22_000_000, KEY, 413),
            ):
                url = f"http://127.0.0.1:{port}/v1/cutout"
                told = _run(command(url, size_bytes, key, tries))
                read = sum(line.split()[0] == str(status) for line in told)
                row.append(f"{read}/{tries}")
                if read < tries:
                    row[-1] += f" ({next(line for line in told if line.split()[0] != str(status))})"
            rows.append((client, way, *row))
    print_table(("client", "through", "401 of 8 MB", "401 of 22 MB", "413 of 22 MB"), rows)
    lost = sum(not cell.startswith(f"{tries}/") for row in rows for cell in row[2:])
    yield Figure("clients, ways and refusals of which some were lost", lost, 0)


def _clients(folder: Path) -> dict[str, Callable[[str, int, str, int], list[list[str]]]]:
    """Return the clients of this machine: what to run for a URL, a size, a key and a number of tries."""

    def once(*command: str) -> Callable[[str, int, str, int], list[list[str]]]:
        return lambda url, size_bytes, key, tries: [[*command, url, str(size_bytes), key, str(tries)]]

    def curl(*more: str) -> Callable[[str, int, str, int], list[list[str]]]:
        def commands(url: str, size_bytes: int, key: str, tries: int) -> list[list[str]]:
            body = folder / str(size_bytes)
            body.write_bytes(bytes(size_bytes))
            form = f"image=@{body};type=image/jpeg"
            told = ("-s", "-o", "/dev/null", "-w", "%{http_code} %{errormsg}\n")
            return [["curl", *told, *more, "-H", f"X-Api-Key: {key}", "-F", form, url]] * tries

        return commands

    clients = {
        library: once(sys.executable, "-c", REQUESTS.format(library=library))
        for library in ("httpx", "requests")
        if _has(library)
    }
    if shutil.which("curl"):
        clients["curl"], clients["curl, not waiting"] = curl(), curl("-H", "Expect:")
    if shutil.which("node"):
        (folder / "refused.mjs").write_text(NODE)
        clients["node fetch"] = once("node", str(folder / "refused.mjs"))
    if shutil.which("javac"):
        (folder / "Refused.java").write_text(JAVA)
        subprocess.run(["javac", "-d", str(folder), str(folder / "Refused.java")], check=True)
        clients["Java HttpClient"] = once("java", "-cp", str(folder), "Refused")
    return clients


def _has(library: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {library}"], capture_output=True).returncode == 0


def _run(commands: list[list[str]]) -> list[str]:
    lines: list[str] = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        lines += [line for line in done.stdout.splitlines() if line.strip()] or [f"0 {done.stderr[-80:]}"]
    return lines


def _proxies(stack: ExitStack, server: Server, folder: Path) -> dict[str, int]:
    """Start the proxies of this machine, and return their ports."""
    ports: dict[str, int] = {}
    upstream = f"127.0.0.1:{server.port}"
    if shutil.which("nginx"):
        names = ("nginx", "nginx, unbuffered and kept")
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
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit("a proxy did not start")


def _slow_uploader(server: Server) -> Iterator[Figure]:
    """Drip a body, and see what is held after its deadline."""
    with socket.create_connection((server.host, server.port), timeout=60) as slow:
        head = f"POST /v1/cutout HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Length: 5000000\r\n\r\n"
        slow.sendall(head.encode())
        began_s = time.monotonic()
        held: list[float] = []
        with suppress(OSError):
            while time.monotonic() - began_s < BODY_S + 10:
                slow.sendall(b".")
                if time.monotonic() - began_s > BODY_S + 0.5:
                    held.append(server.metrics()["cutout_inflight_requests"])
                time.sleep(0.1)
        stayed_s = time.monotonic() - began_s
    yield Figure("requests in flight half a second after a slow upload's deadline", max(held, default=0.0), 0)
    yield Figure("time that it stays connected beyond its deadline", stayed_s - BODY_S, 1.5, " s")


async def _crowd(server: Server, at_once: int) -> list[Figure]:
    """Refuse many uploads at once, and look at memory and at a client that has a key."""
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
    beside = await open_loop(client, lambda _: shot, rate=1, seconds=20)
    told, _ = await crowd.communicate()
    cut = server.metrics().get("cutout_connections_closed_total,reason=slow-body", 0.0)
    await client.close()
    sent, read = map(int, told.split())
    rows = [
        (
            name,
            str(len(results)),
            *(f"{percentile([r.latency_s for r in results], q) * 1e3:.0f} ms" for q in (50, 99)),
        )
        for name, results in (("alone", alone), (f"beside {at_once} refused uploads", beside))
    ]
    print_table(("healthy client", "requests", "p50", "p99"), rows)
    ratio = percentile([r.latency_s for r in beside], 99) / percentile([r.latency_s for r in alone], 99)
    return [
        Figure("errors of the healthy client", sum(result.status != 200 for result in beside), 0),
        Figure("its p99, of that alone", ratio, 2, " ×"),
        Figure(f"of {sent} refused uploads of 8 MB, answers lost", sent - read, 0),
        Figure("connections cut while lingering", cut, 0),
        Figure("memory above that before", (server.peak_bytes() - before_bytes) / 2**20, 32, " MiB"),
    ]


CROWD = """
import asyncio, sys
host, port, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
HEAD = b"POST /v1/cutout HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 8000000\\r\\n\\r\\n"
sent = read = 0
async def upload(ends_s):
    global sent, read
    loop = asyncio.get_running_loop()
    while loop.time() < ends_s:
        sent += 1
        try:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(HEAD)
            for _ in range(80):
                writer.write(bytes(100_000))
                await writer.drain()
            answer = await reader.read()
            read += answer.startswith(b"HTTP/1.1 401 ")
            writer.close()
        except OSError as error:
            print(type(error).__name__, file=sys.stderr)
async def main():
    ends_s = asyncio.get_running_loop().time() + 18
    await asyncio.gather(*(upload(ends_s) for _ in range(at_once)))
    print(sent, read)
asyncio.run(main())
"""


if __name__ == "__main__":
    main()

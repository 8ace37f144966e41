"""Search: requests drawn at random over all options, sizes and pictures, against bounds that always hold.

    python -m benchmarks.search [--requests 2000] [--together 8] [--budget 700000000] [--seed 1]

A server with a small memory budget gets requests whose endpoint, envelope, picture (0.1 to 48 megapixels,
every format), options, pictures beside it and deadline are drawn from a seed, so many at a time. Nothing is
drawn so that it fits: much is refused, and a client that is told to come back does so, a few times.
What must hold whatever is drawn:

- the peak of the server's memory is at most what it held when warm, the budget, and 64 MiB;
- no answer begins later than its deadline and 0.3 s;
- ``/livez``, asked all the while by a process of its own, answers within 250 ms;
- there is no status from 500 on but 503 and 504.

A failing request is printed with what was drawn, and can be drawn again by the seed. Linux only.
"""

import argparse
import base64
import collections
import http.client
import io
import json
import multiprocessing
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
from PIL import Image

from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

MEGAPIXELS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 48.0)
SHAPES = (0.75, 1.5, 1.0, 0.05, 30.0)
FORMATS = ("jpeg", "jpeg", "progressive", "png", "alpha", "webp", "gif", "bmp", "avif")
MAX_UPLOAD_BYTES = 19 * 2**20
SPARE_BYTES = 64 * 2**20
LATE_S, LIVEZ_S = 0.3, 0.25
TRIES, PAUSE_S = 12, 0.7
"""How often a client asks again that gets 503, and after how long."""
PROBE_EVERY_S = 0.02
SHARED: dict[str, tuple[object, ...]] = {
    "format": ("png", "webp", "jpeg", "avif"),
    "quality": (1, 60, 90, 100),
    "clean": (0.0001, 0.01, 0.1),
    "refine": ("crop",),
    "matting": ("none", "fast", "hq"),
    "threshold": (0.1, 0.5),
    "require_foreground": ("true",),
}
OPTIONS: dict[str, dict[str, tuple[object, ...]]] = {
    "mask": {**SHARED, "size": ("network",)},
    "cutout": {
        **SHARED,
        "format": ("png", "webp", "jpeg", "avif", "zip", "auto"),
        "results": ("mask,cutout",),
        "background": ("white", "#ff880080", "blur"),
        "region": ("10% 10% 90% 90%", "0 0 50px 50px"),
        "crop": ("true",),
        "margin": ("50%", "500px", "10px 20%"),
        "scale": ("10%", "50%", "100%"),
        "position": ("center", "0% 100%"),
        "shadow": ("drop",),
        "shadow_opacity": (20, 100),
        "channels": ("rgba", "alpha"),
        "locates": ("true",),
        "megapixels": (0.01, 1, 10),
    },
}


@dataclass(slots=True)
class Seen:
    """What the clients saw."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    latest_s: float = -1e9
    odd: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One request."""

    endpoint: str
    picture: tuple[str, float, float]
    options: dict[str, object]
    beside: dict[str, tuple[str, float, float]]
    envelope: str
    timeout_ms: int


def draw(chance: random.Random) -> Drawn:
    """Draw a request."""
    endpoint = chance.choice(("mask", "cutout", "cutout", "cutout"))
    shape = chance.choice(SHAPES)
    picture = (chance.choice(FORMATS), chance.choice(MEGAPIXELS), shape)
    share = chance.choice((0.1, 0.3, 0.6))
    options = {
        name: chance.choice(values) for name, values in OPTIONS[endpoint].items() if chance.random() < share
    }
    beside: dict[str, tuple[str, float, float]] = {}
    if endpoint == "cutout" and chance.random() < 0.3:
        other = chance.choice((shape, 0.01, 100.0))
        beside["background"] = (chance.choice(FORMATS), chance.choice(MEGAPIXELS), other)
    if endpoint == "cutout" and chance.random() < 0.3:
        beside["mask"] = (chance.choice(("png", "jpeg", "webp")), chance.choice(MEGAPIXELS), shape)
    envelope = "form" if beside else chance.choice(("raw", "form", "json"))
    sizes = [len(upload_of(*one)) for one in (picture, *beside.values())]
    if sum(sizes) * (4 / 3 if envelope == "json" else 1) > MAX_UPLOAD_BYTES:
        beside, envelope = {}, "raw"  # too long a body is refused while it comes, which is another matter
    return Drawn(
        endpoint, picture, options, beside, envelope, chance.choice((400, 2000, 8000, 30_000, 30_000))
    )


@cache
def upload_of(kind: str, megapixels: float, shape: float) -> bytes:
    """Build an upload of (height / width) ``shape``; smaller where it would be too many bytes or too long."""
    height, width = (min(16_000, max(1, round(side))) for side in _sides(megapixels, shape))
    y, x = np.mgrid[0 : min(height, 600), 0 : min(width, 800)]
    waves = [127 + 90 * np.sin(x / (9 + c) + c) * np.cos(y / (13 - c)) for c in range(3)]
    small = np.stack(waves, axis=2).astype(np.uint8)
    cv2.circle(
        small, (small.shape[1] // 2, small.shape[0] // 2), min(small.shape[:2]) // 3, (220, 60, 40), -1
    )
    picture = Image.fromarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    if kind == "alpha":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    name = {"progressive": "jpeg", "alpha": "png"}.get(kind, kind)
    how: dict[str, Any] = {
        "jpeg": {"quality": 70, "progressive": kind == "progressive"},
        "png": {"compress_level": 1},
        "webp": {"quality": 60, "method": 0},
        "avif": {"quality": 40, "speed": 10},
    }.get(name, {})
    encoded = io.BytesIO()
    picture.save(encoded, name, **how)
    if encoded.tell() > MAX_UPLOAD_BYTES or (kind == "avif" and megapixels > 12):
        return upload_of(kind, megapixels / 2, shape)
    return encoded.getvalue()


def _sides(megapixels: float, shape: float) -> tuple[float, float]:
    return (megapixels * 1e6 * shape) ** 0.5, (megapixels * 1e6 / shape) ** 0.5


def body_of(drawn: Drawn) -> tuple[str, bytes, str]:
    """Return query, body and content type."""
    picture = upload_of(*drawn.picture)
    if drawn.envelope == "raw":
        return "?" + urlencode(drawn.options), picture, "application/octet-stream"
    if drawn.envelope == "json":
        numbers = {"quality", "clean", "threshold", "shadow_opacity", "megapixels"}
        members = {
            name: value if name in numbers else {"true": True}.get(str(value), value)
            for name, value in drawn.options.items()
        }
        text = base64.b64encode(picture).decode()
        return "", json.dumps({**members, "image": text}).encode(), "application/json"
    files = {"image": picture, **{role: upload_of(*other) for role, other in drawn.beside.items()}}
    parts = [(f'name="{name}"', str(value).encode()) for name, value in drawn.options.items()]
    parts += [(f'name="{name}"; filename="{name}"', content) for name, content in files.items()]
    body = b"".join(
        b"--cut\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return "", body + b"--cut--\r\n", "multipart/form-data; boundary=cut"


def ask(server: Server, drawn: Drawn, observed: Seen) -> None:
    """Send one request, again where it is put off, and note what came."""
    for _ in range(TRIES):
        status, slug, took_s = ask_once(server, drawn)
        late_s = took_s - drawn.timeout_ms / 1e3
        with observed.lock:
            observed.statuses[f"{status} {slug}".strip()] += 1
            observed.latest_s = max(observed.latest_s, late_s)
            is_odd = not status.isdigit() or (status >= "500" and status not in ("503", "504"))
            if is_odd or late_s > LATE_S:
                observed.odd.append(f"{status} {slug} after {took_s:.2f} s: {drawn}")
        if status != "503":
            return
        time.sleep(PAUSE_S)


def ask_once(server: Server, drawn: Drawn) -> tuple[str, str, float]:
    """Send one request; return its status, the slug of its problem, and the seconds until it was answered."""
    query, body, content_type = body_of(drawn)
    headers = {"Content-Type": content_type, "X-Request-Timeout-Ms": str(drawn.timeout_ms)}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    begun_s = time.monotonic()
    try:
        connection.request("POST", f"/v1/{drawn.endpoint}{query}", body, headers)
        response = connection.getresponse()
        took_s = time.monotonic() - begun_s
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, "", time.monotonic() - begun_s
    finally:
        connection.close()
    slug = json.loads(content)["type"].rpartition("/")[2] if response.status >= 400 else ""
    return str(response.status), slug, took_s


def probe(host: str, port: int, latest: Any, is_over: Any) -> None:
    """Ask ``/livez`` again and again, in a process of its own, and keep the longest answer."""
    while not is_over.is_set():
        begun_s = time.monotonic()
        connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        connection.close()
        latest.value = max(latest.value, time.monotonic() - begun_s)
        time.sleep(PROBE_EVERY_S)


def run(server: Server, requests: list[Drawn], together: int) -> tuple[Seen, float]:
    """Send the requests, so many at a time; return what was seen, and the longest ``/livez`` in seconds."""
    observed, lock, waiting = Seen(), threading.Lock(), iter(requests)
    latest, is_over = multiprocessing.Value("d", 0.0), multiprocessing.Event()
    prober = multiprocessing.Process(target=probe, args=(server.host, server.port, latest, is_over))
    prober.start()

    def work() -> None:
        while True:
            with lock:
                drawn = next(waiting, None)
            if drawn is None:
                return
            ask(server, drawn, observed)

    clients = [threading.Thread(target=work) for _ in range(together)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    is_over.set()
    prober.join()
    return observed, latest.value


def main() -> int:
    """Print what was seen."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--together", type=int, default=8, help="requests at a time")
    parser.add_argument("--budget", type=int, default=700_000_000, help="memory budget, in bytes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print_machine()
    chance = random.Random(args.seed)
    requests = [draw(chance) for _ in range(args.requests)]
    settings = {"CUTOUT_MEMORY_BUDGET": str(args.budget)}
    with Server(args.model, args.models_dir, settings) as server:
        for endpoint in ("mask", "cutout"):
            ask(server, Drawn(endpoint, ("jpeg", 0.3, 0.75), {}, {}, "raw", 30_000), Seen())
        warm_bytes = server.rss_bytes()
        server.forget_peak()
        begun_s = time.monotonic()
        observed, livez_s = run(server, requests, args.together)
        took_s, peak_bytes = time.monotonic() - begun_s, server.peak_bytes()
    print_table(("answer", "times"), [(name, str(n)) for name, n in sorted(observed.statuses.items())])
    print(f"{args.requests} requests in {took_s:.0f} s; warm {warm_bytes / 2**20:.0f} MiB\n")
    fine = ("2", "3", "4", "503", "504")
    odd = sum(n for name, n in observed.statuses.items() if not name.startswith(fine))
    figures = [
        Figure("peak above warm", (peak_bytes - warm_bytes) / 1e6, (args.budget + SPARE_BYTES) / 1e6, " MB"),
        Figure("latest answer after its deadline", observed.latest_s, LATE_S, " s"),
        Figure("longest /livez", livez_s * 1e3, LIVEZ_S * 1e3, " ms"),
        Figure("answers from 500 on but 503 and 504, and lost connections", odd, 0),
    ]
    print_figures(figures)
    for line in observed.odd[:20]:
        print(line)
    return int(not all(figure.passes for figure in figures))


if __name__ == "__main__":
    sys.exit(main())

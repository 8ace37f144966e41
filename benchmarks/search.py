"""Search: random requests over all options, sizes and pictures, checked against bounds that always hold.

    python -m benchmarks.search [--requests 2000] [--together 8] [--budget 700000000] [--seed 1]

A server with a small memory budget receives requests with random endpoint, envelope, picture (0.1 to 48
megapixels, every format), options, additional pictures and deadline, ``--together`` at a time. The choices
depend only on the seed, and not on the limits of the server: many requests are refused, and after a 503 the
client retries a few times. These bounds must hold for all requests:

- the peak of the server's memory is at most its memory when warm, plus the budget and 64 MiB;
- no response starts more than 0.3 s after its deadline;
- ``/livez``, polled by a separate process, responds within 250 ms;
- the only statuses of 500 and above are 503 and 504.

A failing request is printed with its parameters, and can be repeated with the same seed. Linux only.
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
MARGIN_BYTES = 64 * 2**20
MAX_LATE_S, MAX_LIVEZ_S = 0.3, 0.25
TRIES, RETRY_DELAY_S = 12, 0.7
"""The number of tries of a client that gets 503, and the delay between them."""
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
        "report_box": ("true",),
        "megapixels": (0.01, 1, 10),
    },
}


@dataclass(slots=True)
class Observations:
    """The observations of all clients."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    latest_s: float = -1e9
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class RandomRequest:
    """The parameters of one request."""

    endpoint: str
    picture: tuple[str, float, float]
    options: dict[str, object]
    extra_pictures: dict[str, tuple[str, float, float]]
    envelope: str
    timeout_ms: int


def random_request(rng: random.Random) -> RandomRequest:
    """Choose the parameters of a request at random."""
    endpoint = rng.choice(("mask", "cutout", "cutout", "cutout"))
    shape = rng.choice(SHAPES)
    picture = (rng.choice(FORMATS), rng.choice(MEGAPIXELS), shape)
    share = rng.choice((0.1, 0.3, 0.6))
    options = {name: rng.choice(values) for name, values in OPTIONS[endpoint].items() if rng.random() < share}
    extra_pictures: dict[str, tuple[str, float, float]] = {}
    if endpoint == "cutout" and rng.random() < 0.3:
        other = rng.choice((shape, 0.01, 100.0))
        extra_pictures["background"] = (rng.choice(FORMATS), rng.choice(MEGAPIXELS), other)
    if endpoint == "cutout" and rng.random() < 0.3:
        extra_pictures["mask"] = (rng.choice(("png", "jpeg", "webp")), rng.choice(MEGAPIXELS), shape)
    envelope = "form" if extra_pictures else rng.choice(("raw", "form", "json"))
    sizes = [len(upload_of(*one)) for one in (picture, *extra_pictures.values())]
    if sum(sizes) * (4 / 3 if envelope == "json" else 1) > MAX_UPLOAD_BYTES:
        # A body that is too long is refused while it arrives, which other benchmarks test.
        extra_pictures, envelope = {}, "raw"
    return RandomRequest(
        endpoint, picture, options, extra_pictures, envelope, rng.choice((400, 2000, 8000, 30_000, 30_000))
    )


@cache
def upload_of(kind: str, megapixels: float, shape: float) -> bytes:
    """Build an upload with aspect ratio ``shape`` (height / width); smaller if it would exceed a limit."""
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
    options: dict[str, Any] = {
        "jpeg": {"quality": 70, "progressive": kind == "progressive"},
        "png": {"compress_level": 1},
        "webp": {"quality": 60, "method": 0},
        "avif": {"quality": 40, "speed": 10},
    }.get(name, {})
    encoded = io.BytesIO()
    picture.save(encoded, name, **options)
    if encoded.tell() > MAX_UPLOAD_BYTES or (kind == "avif" and megapixels > 12):
        return upload_of(kind, megapixels / 2, shape)
    return encoded.getvalue()


def _sides(megapixels: float, shape: float) -> tuple[float, float]:
    return (megapixels * 1e6 * shape) ** 0.5, (megapixels * 1e6 / shape) ** 0.5


def body_of(request: RandomRequest) -> tuple[str, bytes, str]:
    """Return query, body and content type."""
    picture = upload_of(*request.picture)
    if request.envelope == "raw":
        return "?" + urlencode(request.options), picture, "application/octet-stream"
    if request.envelope == "json":
        numbers = {"quality", "clean", "threshold", "shadow_opacity", "megapixels"}
        fields = {
            name: value if name in numbers else {"true": True}.get(str(value), value)
            for name, value in request.options.items()
        }
        text = base64.b64encode(picture).decode()
        return "", json.dumps({**fields, "image": text}).encode(), "application/json"
    files = {"image": picture, **{role: upload_of(*other) for role, other in request.extra_pictures.items()}}
    parts = [(f'name="{name}"', str(value).encode()) for name, value in request.options.items()]
    parts += [(f'name="{name}"; filename="{name}"', content) for name, content in files.items()]
    body = b"".join(
        b"--cut\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return "", body + b"--cut--\r\n", "multipart/form-data; boundary=cut"


def send(server: Server, request: RandomRequest, observations: Observations) -> None:
    """Send one request, retry after 503, and record the outcome."""
    for _ in range(TRIES):
        status, slug, took_s = send_once(server, request)
        late_s = took_s - request.timeout_ms / 1e3
        with observations.lock:
            observations.statuses[f"{status} {slug}".strip()] += 1
            observations.latest_s = max(observations.latest_s, late_s)
            is_failure = not status.isdigit() or (status >= "500" and status not in ("503", "504"))
            if is_failure or late_s > MAX_LATE_S:
                observations.failures.append(f"{status} {slug} after {took_s:.2f} s: {request}")
        if status != "503":
            return
        time.sleep(RETRY_DELAY_S)


def send_once(server: Server, request: RandomRequest) -> tuple[str, str, float]:
    """Send one request; return its status, the slug of its problem, and the seconds until the response."""
    query, body, content_type = body_of(request)
    headers = {"Content-Type": content_type, "X-Request-Timeout-Ms": str(request.timeout_ms)}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    started_s = time.monotonic()
    try:
        connection.request("POST", f"/v1/{request.endpoint}{query}", body, headers)
        response = connection.getresponse()
        took_s = time.monotonic() - started_s
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, "", time.monotonic() - started_s
    finally:
        connection.close()
    slug = json.loads(content)["type"].rpartition("/")[2] if response.status >= 400 else ""
    return str(response.status), slug, took_s


def probe(host: str, port: int, latest: Any, is_over: Any) -> None:
    """Poll ``/livez`` until ``is_over``, and store the longest latency."""
    while not is_over.is_set():
        started_s = time.monotonic()
        connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        connection.close()
        latest.value = max(latest.value, time.monotonic() - started_s)
        time.sleep(PROBE_EVERY_S)


def run(server: Server, requests: list[RandomRequest], together: int) -> tuple[Observations, float]:
    """Send the requests, ``together`` at a time; return observations and the longest ``/livez``."""
    observations, lock, waiting = Observations(), threading.Lock(), iter(requests)
    latest, is_over = multiprocessing.Value("d", 0.0), multiprocessing.Event()
    prober = multiprocessing.Process(target=probe, args=(server.host, server.port, latest, is_over))
    prober.start()

    def send_next() -> None:
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            send(server, request, observations)

    clients = [threading.Thread(target=send_next) for _ in range(together)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    is_over.set()
    prober.join()
    return observations, latest.value


def main() -> int:
    """Print statuses, figures and failing requests."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--together", type=int, default=8, help="requests at a time")
    parser.add_argument("--budget", type=int, default=700_000_000, help="memory budget, in bytes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print_machine()
    rng = random.Random(args.seed)
    requests = [random_request(rng) for _ in range(args.requests)]
    settings = {"CUTOUT_MEMORY_BUDGET": str(args.budget)}
    with Server(args.model, args.models_dir, settings) as server:
        for endpoint in ("mask", "cutout"):
            send(server, RandomRequest(endpoint, ("jpeg", 0.3, 0.75), {}, {}, "raw", 30_000), Observations())
        warm_bytes = server.rss_bytes()
        server.forget_peak()
        started_s = time.monotonic()
        observations, livez_s = run(server, requests, args.together)
        took_s, peak_bytes = time.monotonic() - started_s, server.peak_bytes()
    print_table(("response", "count"), [(name, str(n)) for name, n in sorted(observations.statuses.items())])
    print(f"{args.requests} requests in {took_s:.0f} s; warm {warm_bytes / 2**20:.0f} MiB\n")
    expected = ("2", "3", "4", "503", "504")
    failures = sum(n for name, n in observations.statuses.items() if not name.startswith(expected))
    figures = [
        Figure("peak above warm", (peak_bytes - warm_bytes) / 1e6, (args.budget + MARGIN_BYTES) / 1e6, " MB"),
        Figure("latest response after its deadline", observations.latest_s, MAX_LATE_S, " s"),
        Figure("longest /livez", livez_s * 1e3, MAX_LIVEZ_S * 1e3, " ms"),
        Figure("other statuses from 500 on, and lost connections", failures, 0),
    ]
    print_figures(figures)
    for line in observations.failures[:20]:
        print(line)
    return int(not all(figure.passes for figure in figures))


if __name__ == "__main__":
    sys.exit(main())

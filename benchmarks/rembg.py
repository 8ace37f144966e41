"""Rembg: compares the latency of the rembg server and ours, with the same picture and weights.

    make peers
    python -m benchmarks.rembg --peers .venv-peers/bin/python [--megapixels 1] [--runs 3] [--photo FILE]

Starts the rembg server with the published u2net weights that ``make export MODEL=u2net`` fetches, and our
server with u2net. Requests are sent one at a time, alternating; the medians of the client's latency are
compared, and the first request to each does not count. ``a=true`` is rembg's alpha matting (closed form at
full resolution), ours is ``matting=fast``.
"""

import argparse
import io
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.report import ROOT, Figure, print_figures, print_machine, print_table
from benchmarks.server import Server

PHOTO = ROOT / "docs" / "images" / "astronaut.jpg"
MIN_SPEEDUP = 50.0
TIMEOUT_S = 300.0


def main() -> None:
    """Print the latency of a cutout from both servers."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--peers", type=Path, required=True, help="a Python interpreter with rembg")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--photo", type=Path, default=PHOTO)
    args = parser.parse_args()
    print_machine()
    upload = _upload(args.photo, args.megapixels)
    with (
        rembg_server(args.peers, args.models_dir) as theirs,
        Server("u2net", args.models_dir) as server,
        httpx.Client(timeout=TIMEOUT_S) as client,
    ):
        ours = f"http://{server.host}:{server.port}/v1/cutout"

        def request_rembg(matting: str) -> httpx.Response:
            form = {"model": "u2net", "a": matting}
            return client.post(f"{theirs}/api/remove", data=form, files={"file": ("photo.jpg", upload)})

        requests: dict[str, Callable[[], httpx.Response]] = {
            "rembg, a=true": lambda: request_rembg("true"),
            "rembg, a=false": lambda: request_rembg("false"),
            "ours, matting=fast": lambda: client.post(ours, content=upload),
            "ours, matting=hq": lambda: client.post(f"{ours}?matting=hq", content=upload),
            "ours, matting=none": lambda: client.post(f"{ours}?matting=none", content=upload),
        }
        took_s = _measure(requests, args.runs)
    print(f"{args.megapixels:g} megapixels, u2net, JPEG to PNG cutout, median of {args.runs}\n")
    fast_s = took_s["ours, matting=fast"]
    rows = [(name, f"{seconds:.2f} s", f"{seconds / fast_s:.2f}") for name, seconds in took_s.items()]
    print_table(("request", "latency", "of ours, fast"), rows)
    speedup = took_s["rembg, a=true"] / fast_s
    theirs_s = took_s["rembg, a=true"] - took_s["rembg, a=false"]
    ours_s = max(1e-3, fast_s - took_s["ours, matting=none"])
    print_figures(
        [
            Figure("rembg with a=true, of ours", speedup, MIN_SPEEDUP, " ×", is_floor=True),
            Figure(
                "time added by rembg's matting, of ours", theirs_s / ours_s, MIN_SPEEDUP, " ×", is_floor=True
            ),
        ]
    )


def _upload(photo: Path, megapixels: float) -> bytes:
    """Enlarge a photo, and encode it like a camera."""
    encoded = io.BytesIO()
    with Image.open(photo) as stored:
        factor = (megapixels * 1e6 / (stored.width * stored.height)) ** 0.5
        size = round(stored.width * factor), round(stored.height * factor)
        stored.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=92)
    return encoded.getvalue()


def _measure(requests: dict[str, Callable[[], httpx.Response]], runs: int) -> dict[str, float]:
    """Return the median seconds of each request; the requests alternate."""
    took_s: dict[str, list[float]] = {name: [] for name in requests}
    for number in range(runs + 1):
        for name, send in requests.items():
            began_s = time.monotonic()
            send().raise_for_status()
            if number > 0:
                took_s[name].append(time.monotonic() - began_s)
    return {name: statistics.median(seconds) for name, seconds in took_s.items()}


@contextmanager
def rembg_server(peers: Path, models_dir: Path) -> Iterator[str]:
    """Serve rembg on a free port, and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (str(peers.with_name("rembg")), "s", "-h", "127.0.0.1", "-p", str(port), "--no-ui")
    weights = {"U2NET_HOME": str(models_dir / "weights"), "MODEL_CHECKSUM_DISABLED": "1", "BROWSER": "true"}
    process = subprocess.Popen(
        command, env={**os.environ, **weights}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            httpx.get(f"{address}/openapi.json").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit("The rembg server did not start.")


if __name__ == "__main__":
    main()

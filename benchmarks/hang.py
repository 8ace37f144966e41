"""Hang: how soon a run of the network that never ends is detected, and the server process restarted.

    python -m benchmarks.hang [--times 5]

Serves a synthetic network (``tests.networks``) under ``--supervise``, whose run never ends on a white pixel.
Measures the time from sending the picture until ``/livez`` is red, and until another server process handles
a picture; the second time includes the start of that process.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import Figure, print_figures, print_machine
from benchmarks.server import Server
from tests.networks import hanging_model


def main() -> None:
    """Print the slowest of several times."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        hanging_model(Path(folder))
        settings = {"CUTOUT_LIFECYCLE__SUPERVISE": "true"}
        with Server("hangs", Path(folder), settings) as server:
            segmentation = [_hang_once(f"http://{server.host}:{server.port}") for _ in range(asked.times)]
    print(f"## A run that never ends, {asked.times} times\n")
    print_figures(
        [
            Figure("/livez is red, slowest", max(red for red, _ in segmentation), 2, " s"),
            Figure("another process responds, slowest", max(back for _, back in segmentation), 10, " s"),
            Figure(
                "another process responds, median",
                statistics.median(back for _, back in segmentation),
                10,
                " s",
            ),
        ]
    )


def _hang_once(url: str) -> tuple[float, float]:
    """Return the seconds until ``/livez`` is red, and until a picture is processed again."""
    with httpx.Client(base_url=url, timeout=60) as client:
        client.post("/v1/mask", content=_png(0)).raise_for_status()
        waiting = threading.Thread(target=_ask_in_vain, args=(url,), daemon=True)
        sent_s = time.monotonic()
        waiting.start()
        while client.get("/livez").status_code == 200:
            time.sleep(0.02)
        red_s = time.monotonic() - sent_s
    waiting.join()  # it ends with the server process, and so does the connection above
    httpx.post(f"{url}/v1/mask", content=_png(0), timeout=60).raise_for_status()
    return red_s, time.monotonic() - sent_s


def _ask_in_vain(url: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(f"{url}/v1/mask", content=_png(255), timeout=60)


def _png(value: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), value, np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


if __name__ == "__main__":
    main()

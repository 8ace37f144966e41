"""Decompression bombs against the real process: each is refused, and its memory is freed."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.bombs import MEBIBYTE, bombs
from tests.journeys.conftest import Server
from tests.pictures import jpeg, photo

pytestmark = pytest.mark.journey
LARGE, COSTLY, DAMAGED = "picture-too-large", "picture-too-complex", "corrupt-picture"
EXPECTED = {
    "pixels": {LARGE, DAMAGED},
    "scans": {COSTLY},
    "text": {COSTLY},
    "parts": {COSTLY},
    "interlaced": {LARGE, DAMAGED},
    "frames": {COSTLY},
    "aspect": {LARGE},
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_bombs_are_refused_and_their_memory_is_freed(serve: Callable[..., Server]) -> None:
    server = serve("--model", "u2netp")
    uploads = bombs()
    with httpx.Client(base_url=server.url, timeout=120) as client, ThreadPoolExecutor(8) as pool:

        def response_to(name: str) -> str:
            response = client.post("/v1/cutout", content=uploads[name])
            assert response.status_code == 422, (name, response.text)
            return str(response.json()["type"].removeprefix("/problems/"))

        for _ in range(4):
            assert client.post("/v1/cutout", content=jpeg(photo(600, 800))).status_code == 200
        held = _resident_bytes(server)
        slugs = dict(zip(uploads, pool.map(response_to, uploads), strict=True))
        for _ in range(2):
            list(pool.map(response_to, uploads))
        give_up_at_s = time.monotonic() + 30
        while _resident_bytes(server) - held > 25 * MEBIBYTE and time.monotonic() < give_up_at_s:
            time.sleep(0.5)
        kept = _resident_bytes(server) - held
        still = client.post("/v1/cutout", content=jpeg(photo(600, 800))).status_code

    assert {} == {name: slug for name, slug in slugs.items() if slug not in EXPECTED[name.split(":")[0]]}
    assert kept <= 25 * MEBIBYTE
    assert still == 200


def _resident_bytes(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

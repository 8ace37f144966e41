"""The redirect kit with a real Caddy, where there is one: a client that cannot be told another host name."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from tests.journeys.conftest import ROOT, Server
from tests.pictures import opened

pytestmark = pytest.mark.journey
NAME = "api.remove.bg"
PICTURE = ROOT / "docs/images/astronaut.jpg"


def test_caddy_stands_in_for_the_name(serve: Callable[..., Server], tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("there is no caddy on this machine")
    upstream = serve("--model", "u2netp").url.removeprefix("http://")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [caddy, "run", "--adapter", "caddyfile", "--config", str(ROOT / "docker/redirect/Caddyfile")],
        env={**os.environ, **folders, "REDIRECTED_NAME": f"{NAME}:{port}", "UPSTREAM": upstream},
        stderr=subprocess.DEVNULL,
    )
    try:
        authority = tmp_path / "caddy/pki/authorities/local/root.crt"
        answer = _ask(port, authority)
    finally:
        process.terminate()
        process.wait(20)

    assert answer.status_code == 200
    assert opened(answer.content).shape == (500, 500, 4)


def test_the_kit_of_compose_mounts_the_file_that_is_tested() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounts = services["redirect"]["volumes"]

    assert "./docker/redirect/Caddyfile:/etc/caddy/Caddyfile:ro" in mounts
    assert services["redirect"]["profiles"] == ["redirect"]


def _ask(port: int, authority: Path) -> httpx.Response:
    """Send a picture to the name as if it led here; wait until the proxy has its certificate."""
    until_s = time.monotonic() + 60
    while True:
        try:
            context = ssl.create_default_context(cafile=str(authority))
            with httpx.Client(verify=context, timeout=60) as client:
                return client.post(
                    f"https://127.0.0.1:{port}/v1.0/removebg",
                    files={"image_file": PICTURE.read_bytes()},
                    headers={"Host": f"{NAME}:{port}"},
                    extensions={"sni_hostname": NAME},
                )
        except (httpx.TransportError, OSError):
            assert time.monotonic() < until_s
            time.sleep(0.2)

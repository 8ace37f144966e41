"""The redirect setup with a real Caddy, for clients whose host name cannot be configured."""

import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.journeys.conftest import ROOT, Server, free_port
from tests.journeys.debian import debian_program
from tests.pictures import opened

pytestmark = pytest.mark.journey
NAME = "api.remove.bg"
PICTURE = ROOT / "docs/images/astronaut.jpg"


@pytest.fixture(scope="module")
def caddy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian_program("caddy", tmp_path_factory.mktemp("caddy"))


@pytest.fixture
def upstream(serve: Callable[..., Server]) -> str:
    return serve("--model", "u2netp").url.removeprefix("http://")


@contextmanager
def running(caddy: Path, folder: Path, file: str, **variables: str) -> Iterator[Path]:
    """Run Caddy with one of our files; yield the future path of its CA certificate."""
    process = subprocess.Popen(
        [caddy, "run", "--adapter", "caddyfile", "--config", str(ROOT / file)],
        env={**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), **variables},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield folder / "caddy/pki/authorities/local/root.crt"
    finally:
        process.terminate()
        process.wait(20)


def test_caddy_serves_the_redirected_name(caddy: Path, upstream: str, tmp_path: Path) -> None:
    names = {"REDIRECTED_NAME": f"{NAME}:{(port := free_port())}", "UPSTREAM": upstream}
    with running(caddy, tmp_path, "docker/redirect/Caddyfile", **names) as authority:
        response = _post(NAME, port, authority)

    assert response.status_code == 200
    assert opened(response.content).shape == (500, 500, 4)


def test_caddy_terminates_tls_for_the_proxy_profile(caddy: Path, upstream: str, tmp_path: Path) -> None:
    names = {"DOMAIN": f"localhost:{(port := free_port())}", "UPSTREAM": upstream}
    with running(caddy, tmp_path, "docker/proxy/Caddyfile", **names) as authority:
        response = _post("localhost", port, authority)

    assert response.status_code == 200
    assert opened(response.content).shape == (500, 500, 4)
    assert "max-age" in response.headers["Strict-Transport-Security"]


@pytest.mark.parametrize(("service", "profile"), [("redirect", "redirect"), ("proxy", "tls")])
def test_compose_mounts_the_tested_files(service: str, profile: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]

    assert f"./docker/{service}/Caddyfile:/etc/caddy/Caddyfile:ro" in services[service]["volumes"]
    assert services[service]["profiles"] == [profile]


def _post(name: str, port: int, authority: Path) -> httpx.Response:
    """Send a picture to the name, resolved to this machine; retry until the proxy has its certificate."""
    until_s = time.monotonic() + 60
    while True:
        try:
            context = ssl.create_default_context(cafile=str(authority))
            with httpx.Client(verify=context, timeout=60) as client:
                return client.post(
                    f"https://127.0.0.1:{port}/v1.0/removebg",
                    files={"image_file": PICTURE.read_bytes()},
                    headers={"Host": f"{name}:{port}"},
                    extensions={"sni_hostname": name},
                )
        except (httpx.TransportError, OSError):
            assert time.monotonic() < until_s
            time.sleep(0.2)

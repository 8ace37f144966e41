"""The compose file on a real engine: the CPU service alone, behind its proxies, and with Prometheus."""

import asyncio
import hashlib
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.images.bases import base_image
from tests.images.conftest import PICTURE, PREFIX, ROOT, UPLOAD, Client, Load, capacity, crash, wait_until
from tests.images.engine import Docker, NoEngine, compose_programs
from tests.journeys.conftest import free_port
from tests.pictures import opened

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.images]
KEY = "0123456789abcdef0123456789abcdef"
AUTHORITY = "/data/caddy/pki/authorities/local/root.crt"
LOAD = 0.8
SECRET = {"Authorization": f"Bearer {KEY}"}
REMOVEBG = """
RUN python -m venv /opt/client && /opt/client/bin/pip install removebg==0.4
WORKDIR /tmp
"""


class Project:
    """A copy of the compose file with a ``.env`` of its own; the images are those of the tests."""

    def __init__(self, docker: Docker, program: list[str], folder: Path, images: dict[str, str]) -> None:
        self.docker = docker
        self.port, self.https_port, self.redirect_port = free_port(), free_port(), free_port()
        self.prometheus_port = free_port()
        self._program = program
        self.folder = folder
        shutil.copy(ROOT / "docker-compose.yml", folder)
        shutil.copytree(ROOT / "docker", folder / "docker")
        self.use(images)
        self.settings(
            CUTOUT_MODELS="u2netp",
            CUTOUT_PRECISION="float32",
            CUTOUT_ACCESS__OPEN="false",
            CUTOUT_ACCESS__KEY_HASHES=hashlib.sha256(KEY.encode()).hexdigest(),
            MEMORY_LIMIT="2g",
            PORT=str(self.port),
            METRICS_PORT=str(free_port()),
            HTTP_PORT=str(free_port()),
            HTTPS_PORT=str(self.https_port),
            REDIRECT_PORT=str(self.redirect_port),
            PROMETHEUS_PORT=str(self.prometheus_port),
        )

    def settings(self, **values: str) -> None:
        """Add lines to ``.env``."""
        with (self.folder / ".env").open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())

    def use(self, images: dict[str, str]) -> None:
        """Name other images, in the override that compose reads by itself."""
        services: dict[str, dict[str, object]] = {name: {"image": image} for name, image in images.items()}
        services["redirect"]["networks"] = {"default": {"aliases": ["api.remove.bg"]}}
        # Compose 1.29 requires the version of the first file, which has none.
        (self.folder / "docker-compose.override.yml").write_text(yaml.safe_dump({"services": services}))

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run compose, and return its output."""
        done = subprocess.run(
            [*self._program, "--project-name", PREFIX, *arguments],
            cwd=self.folder,
            env=self.docker.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0 or not check, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def up(self, *services: str) -> None:
        self.run("--profile=pair", "up", "--detach", "--no-build", "--no-deps", *services)

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.run("ps", "--quiet", service).strip()

    def trust(self, service: str) -> ssl.SSLContext:
        """Return a context that trusts the authority of a proxy, once it has made one."""
        copied = self.folder / f"{service}.crt"
        source = f"{self.container(service)}:{AUTHORITY}"
        wait_until(
            lambda: self.docker.run("cp", source, str(copied), check=False).returncode == 0, timeout_s=60
        )
        return ssl.create_default_context(cafile=str(copied))


@pytest.fixture(scope="module")
def images(docker: Docker, cpu_image: str) -> dict[str, str]:
    """The images of the services: ours, and the published ones or their stand-ins."""
    try:
        caddy, prometheus = (base_image(docker, _image(name)) for name in ("proxy", "prometheus"))
    except NoEngine as reason:
        pytest.skip(str(reason))
    ours = {"cutout-cpu": cpu_image, "cutout-cpu-2": cpu_image}
    return {**ours, "proxy": caddy, "redirect": caddy, "prometheus": prometheus}


def _image(service: str) -> str:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return str(compose["services"][service]["image"])


@pytest.fixture(scope="module")
def project(
    docker: Docker, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """The compose file with the newest compose program that is installed; removed at the end."""
    programs = compose_programs()
    if not programs:
        pytest.skip("docker compose is not installed")
    project = Project(docker, programs[max(programs)], tmp_path_factory.mktemp("compose"), images)
    try:
        yield project
    finally:
        project.run("--profile=pair", "down", "--volumes", "--remove-orphans", check=False)


@pytest.fixture(scope="module")
def service(project: Project) -> str:
    """The URL of the CPU service, as soon as it is ready."""
    project.up("cutout-cpu")
    url = f"http://127.0.0.1:{project.port}"
    wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
    return url


@pytest.fixture(scope="module")
def proxy(project: Project, service: str) -> tuple[str, Client]:
    """The URL of the TLS proxy, and a client for it."""
    project.up("proxy")
    url = f"https://localhost:{project.https_port}"
    client = Client(verify=project.trust("proxy"), headers=SECRET)
    wait_until(lambda: httpx.get(f"{url}/readyz", **vars(client)).status_code == 200)
    return url, client


@pytest.mark.parametrize("version", ["1", "2"])
def test_compose_accepts_the_file(version: str, docker: Docker, tmp_path: Path) -> None:
    """Docker Desktop and current packages have version 2 and later; Debian 12 has 1.29."""
    if version not in compose_programs():
        pytest.skip(f"no docker compose {version} is installed")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    command = [*compose_programs()[version], "config", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=docker.environment, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_serves_who_has_the_key_of_the_env_file(service: str) -> None:
    refused = httpx.post(f"{service}/v1/cutout", content=UPLOAD)
    served = httpx.post(f"{service}/v1/cutout", content=UPLOAD, headers=SECRET, timeout=60)

    assert (refused.status_code, served.status_code) == (401, 200)


def test_the_container_has_the_limits_of_the_file_and_of_the_env_file(project: Project, service: str) -> None:
    host = json.loads(
        project.docker.output("inspect", "-f", "{{json .HostConfig}}", project.container("cutout-cpu"))
    )

    assert host["Memory"] == 2 * 2**30
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])


def test_the_proxy_serves_over_tls(proxy: tuple[str, Client]) -> None:
    url, client = proxy
    response = httpx.post(f"{url}/v1/cutout", content=UPLOAD, timeout=60, **vars(client))

    assert response.status_code == 200
    assert "max-age" in response.headers["Strict-Transport-Security"]


def test_prometheus_scrapes_the_service_and_has_the_alerts(project: Project, service: str) -> None:
    project.up("prometheus")
    url = f"http://127.0.0.1:{project.prometheus_port}/api/v1"

    def targets() -> list[dict[str, str]]:
        found: list[dict[str, str]] = httpx.get(f"{url}/targets").json()["data"]["activeTargets"]
        return found

    wait_until(lambda: [each["health"] for each in targets()] == ["up"], timeout_s=60)
    groups = httpx.get(f"{url}/rules").json()["data"]["groups"]
    names = {rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"}

    assert {"CutoutDown", "CutoutNotReady"} <= names


def test_an_unmodified_removebg_client_is_served_through_the_redirect(
    project: Project, service: str, python_image: str
) -> None:
    """The client has api.remove.bg in its code; the network resolves that name to the redirect."""
    project.up("redirect")
    project.trust("redirect")
    image = f"{PREFIX}-removebg"
    project.docker.run(
        "build", "--network=host", f"--tag={image}", "-", text=f"FROM {python_image}{REMOVEBG}"
    )
    code = (
        f"from removebg import RemoveBg; RemoveBg('{KEY}', 'e.log').remove_background_from_img_file('in.jpg')"
    )
    name = f"{PREFIX}-removebg"
    project.docker.run("rm", "--force", name, check=False)
    network, trusted = f"--network={PREFIX}_default", "--env=REQUESTS_CA_BUNDLE=/tmp/root.crt"
    project.docker.run(
        "create", f"--name={name}", network, trusted, image, "/opt/client/bin/python", "-c", code
    )
    try:
        project.docker.run("cp", str(PICTURE), f"{name}:/tmp/in.jpg")
        project.docker.run("cp", str(project.folder / "redirect.crt"), f"{name}:/tmp/root.crt")
        project.docker.run("start", "--attach", name)
        project.docker.run("cp", f"{name}:/tmp/in.jpg_no_bg.png", str(project.folder / "cutout.png"))
    finally:
        project.docker.run("rm", "--force", name, check=False)

    assert opened((project.folder / "cutout.png").read_bytes()).shape == (500, 500, 4)


def test_the_service_restarts_after_a_crash(project: Project, service: str, cpu_image: str) -> None:
    container = project.container("cutout-cpu")
    crash(project.docker, container, cpu_image)
    wait_until(lambda: project.docker.output("inspect", "-f", "{{.RestartCount}}", container) != "0")
    wait_until(lambda: httpx.get(f"{service}/readyz").status_code == 200)


def test_a_new_image_behind_the_proxy_loses_no_request(
    project: Project, proxy: tuple[str, Client], images: dict[str, str]
) -> None:
    """One server: the proxy holds requests from the drain of the old container until the new one is ready."""
    url, client = proxy
    load = Load(url, rate=LOAD * capacity(url, client=client), client=client)
    before = project.container("cutout-cpu")
    project.use({**images, "cutout-cpu": _next(project.docker, images["cutout-cpu"], "single")})
    asyncio.run(load.during(lambda: project.up("cutout-cpu"), tail_s=15))

    assert project.container("cutout-cpu") != before
    assert set(load.statuses) == {200}


def test_two_servers_are_replaced_one_after_the_other_without_a_lost_request(
    project: Project, proxy: tuple[str, Client], images: dict[str, str]
) -> None:
    url, client = proxy
    project.settings(UPSTREAM="cutout-cpu:8000 cutout-cpu-2:8000")
    project.up("cutout-cpu", "cutout-cpu-2", "proxy")
    servers = ("cutout-cpu", "cutout-cpu-2")
    for name in servers:
        _wait_until_healthy(project, name)
    client.verify = project.trust("proxy")
    wait_until(lambda: httpx.get(f"{url}/readyz", **vars(client)).status_code == 200)
    before = [project.container(name) for name in servers]
    newer = _next(project.docker, images["cutout-cpu"], "pair")
    project.use({**images, "cutout-cpu": newer, "cutout-cpu-2": newer})

    def replace() -> None:
        for name in servers:
            project.up(name)
            _wait_until_healthy(project, name)

    load = Load(url, rate=LOAD * capacity(url, client=client), client=client)
    asyncio.run(load.during(replace))

    assert all(new != old for new, old in zip(map(project.container, servers), before, strict=True))
    assert set(load.statuses) == {200}


def _next(docker: Docker, image: str, label: str) -> str:
    """Return an image that differs from ``image`` only in a label."""
    name = f"{PREFIX}:{label}"
    docker.run("build", f"--tag={name}", "-", text=f"FROM {image}\nLABEL cutout.test={label}\n")
    return name


def _wait_until_healthy(project: Project, service: str) -> None:
    """Wait for the container's own health check, as ``compose up --wait`` does."""
    health = ("inspect", "--format={{.State.Health.Status}}", project.container(service))
    wait_until(lambda: project.docker.output(*health) == "healthy")

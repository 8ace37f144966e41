"""The engine, the images and the containers of these tests; all containers have names with one prefix."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.images.bases import PYTHON, base_image
from tests.images.engine import Docker, NoEngine, docker_engine
from tests.pictures import jpeg, photo

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "cutout-test"
PICTURE = ROOT / "docs/images/astronaut.jpg"
UPLOAD = jpeg(photo(240, 320))


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """The engine; without one all tests of this folder skip with the reason."""
    try:
        with docker_engine() as docker:
            yield docker
    except NoEngine as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def python_image(docker: Docker) -> str:
    try:
        return base_image(docker, PYTHON)
    except NoEngine as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def build(docker: Docker, python_image: str) -> Callable[..., str]:
    """Build a target of the Dockerfile with the small model; return the image's name."""

    def run(target: str, *, context: Path = ROOT, tag: str = "") -> str:
        name = f"{PREFIX}:{tag or target}"
        arguments = [f"--build-arg=PYTHON_IMAGE={python_image}", "--build-arg=MODELS=u2netp"]
        docker.run("build", "--network=host", f"--target={target}", f"--tag={name}", *arguments, str(context))
        return name

    return run


@pytest.fixture(scope="session")
def cpu_image(build: Callable[..., str]) -> str:
    return build("cpu")


@dataclass(frozen=True)
class Container:
    """A running container of the service and the address of its published port."""

    docker: Docker
    name: str
    url: str

    def wait_until_ready(self) -> None:
        wait_until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200)

    def exec(self, *command: str) -> str:
        return self.docker.output("exec", self.name, *command)

    def state(self) -> dict[str, object]:
        state: dict[str, object] = json.loads(
            self.docker.output("inspect", "-f", "{{json .State}}", self.name)
        )
        return state


@pytest.fixture
def start(docker: Docker, cpu_image: str) -> Iterator[Callable[..., Container]]:
    """Start containers as the compose file does: read-only, without capabilities; remove them at the end."""
    names: list[str] = []

    def run(*arguments: str, image: str = cpu_image, **environment: str) -> Container:
        name = f"{PREFIX}-{len(names)}"
        docker.run("rm", "--force", name, check=False)
        names.append(name)
        settings = {"CUTOUT_MODELS": "u2netp", "CUTOUT_PRECISION": "float32", "CUTOUT_ACCESS__OPEN": "true"}
        given = [f"--env={key}={value}" for key, value in {**settings, **environment}.items()]
        limits = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
        docker.run(
            *("run", "--detach", f"--name={name}", "--publish=127.0.0.1::8000"),
            *(*limits, *given, *arguments, image),
        )
        return Container(docker, name, f"http://{docker.output('port', name, '8000').splitlines()[0]}")

    yield run
    for name in names:
        docker.run("rm", "--force", name, check=False)


def crash(docker: Docker, container: str, image: str) -> None:
    """Kill the first process of a container from outside it: the engine must see a crash, not a request."""
    process = docker.output("inspect", "--format={{.State.Pid}}", container)
    kill = ("--entrypoint=python", image, "-c", f"import os; os.kill({process}, 9)")
    docker.run("run", "--rm", "--pid=host", "--user=0", *kill)


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 180) -> None:
    """Wait until a condition holds; a request that fails counts as no."""
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            if holds():
                return
        except (httpx.TransportError, OSError):
            pass
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.2)


@dataclass
class Client:
    """What a client needs for a server: the authority that it trusts and its key."""

    verify: ssl.SSLContext | bool = True
    headers: dict[str, str] = field(default_factory=dict)


class Load:
    """Requests at a steady rate, sent whether earlier ones have been served or not."""

    def __init__(self, url: str, *, rate: float, client: Client | None = None) -> None:
        self.statuses: list[int | str] = []
        self.durations_s: list[float] = []
        self._url = f"{url}/v1/mask"
        self._rate = rate
        self._client = client or Client()
        self._ends = False

    async def during(self, work: Callable[[], object], *, lead_s: float = 2, tail_s: float = 2) -> None:
        """Send requests from ``lead_s`` before ``work`` until ``tail_s`` after it; wait for all responses."""
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=50)
        async with httpx.AsyncClient(**vars(self._client), timeout=120, limits=limits) as client:
            sender = asyncio.create_task(self._send(client))
            await asyncio.sleep(lead_s)
            await asyncio.to_thread(work)
            await asyncio.sleep(tail_s)
            self._ends = True
            await sender

    async def _send(self, client: httpx.AsyncClient) -> None:
        started_s, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as requests:
            while not self._ends:
                requests.create_task(self._request(client))
                sent += 1
                await asyncio.sleep(max(0.0, started_s + sent / self._rate - time.monotonic()))

    async def _request(self, client: httpx.AsyncClient) -> None:
        began_s = time.monotonic()
        try:
            response = await client.post(self._url, content=UPLOAD)
            self.statuses.append(response.status_code)
        except httpx.TransportError as error:
            self.statuses.append(type(error).__name__)
        self.durations_s.append(time.monotonic() - began_s)

    def stop(self) -> None:
        """Send no more requests."""
        self._ends = True


def capacity(url: str, *, seconds: float = 3, client: Client | None = None) -> float:
    """Return the requests per second that a server serves to two clients which never pause."""
    until_s = time.monotonic() + seconds

    def served() -> int:
        done = 0
        with httpx.Client(**vars(client or Client()), timeout=60) as session:
            while time.monotonic() < until_s:
                response = session.post(f"{url}/v1/mask", content=UPLOAD)
                assert response.status_code == 200, response.text
                done += 1
        return done

    with ThreadPoolExecutor(2) as threads:
        return sum(thread.result() for thread in [threads.submit(served) for _ in range(2)]) / seconds


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

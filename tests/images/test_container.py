"""The CPU image as a container: what it holds, how it runs and how it stops."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import httpx
import pytest

from tests.deploy.test_images import pins
from tests.images.conftest import ROOT, UPLOAD, Container, Load, canonical, capacity, wait_until
from tests.images.engine import Docker

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.images]
Start = Callable[..., Container]
STOPS = 3
LIST_PACKAGES = """
import importlib.metadata, json
print(json.dumps({each.name: each.version for each in importlib.metadata.distributions()}))
"""


def packages_of(docker: Docker, image: str) -> dict[str, str]:
    """Return the packages that the service of an image can import, and their versions."""
    listed = docker.output("run", "--rm", "--entrypoint=/opt/cutout/bin/python", image, "-c", LIST_PACKAGES)
    return {canonical(name): version for name, version in json.loads(listed).items()}


@pytest.fixture(scope="module")
def packages(docker: Docker, cpu_image: str) -> dict[str, str]:
    return packages_of(docker, cpu_image)


def test_it_is_healthy_unprivileged_and_read_only(start: Start) -> None:
    container = start()
    container.wait_until_ready()
    status = Path("/proc/1/status")
    capabilities = re.findall(
        r"^Cap(?:Eff|Prm|Bnd):\s*(\S+)", container.exec("cat", str(status)), re.MULTILINE
    )
    response = httpx.post(f"{container.url}/v1/cutout", content=UPLOAD, timeout=60)
    written = container.docker.run("exec", container.name, "touch", "/srv/cutout/x", check=False)
    wait_until(lambda: container.state()["Health"]["Status"] == "healthy")  # type: ignore[index] # JSON

    assert response.status_code == 200
    assert container.exec("id", "-u") == "10001"
    assert {int(each, 16) for each in capabilities} == {0}
    assert written.returncode != 0
    assert "cutout serve" in container.exec("cat", "/proc/1/cmdline").replace("\0", " ")


def test_a_stop_under_load_loses_no_request_and_exits_with_0(start: Start) -> None:
    """As a load balancer does, the clients send no new requests from a second after the signal on."""
    for _ in range(STOPS):
        container = start(CUTOUT_LIFECYCLE__DRAIN_DELAY_S="3")
        container.wait_until_ready()
        load = Load(container.url, rate=0.8 * capacity(container.url, seconds=2))

        def stop(container: Container = container, load: Load = load) -> None:
            Timer(1, load.stop).start()
            container.docker.run("stop", "--time=40", container.name)

        asyncio.run(load.during(stop, tail_s=0))

        assert set(load.statuses) == {200}
        assert container.state()["ExitCode"] == 0
        assert container.state()["OOMKilled"] is False


def test_the_image_lists_the_models_that_it_was_built_with(docker: Docker, cpu_image: str) -> None:
    read = "from app.settings import read_settings; print(*read_settings().models)"
    listed = docker.output("run", "--rm", "--entrypoint=cat", cpu_image, "/srv/cutout/models/served.txt")

    assert listed.split() == ["u2netp"]
    assert docker.output("run", "--rm", "--entrypoint=python", cpu_image, "-c", read).strip() == "u2netp"


def test_the_image_has_no_torch_no_export_and_no_installer(packages: dict[str, str]) -> None:
    assert {"cutout-server", "onnxruntime"} <= set(packages)
    assert not {"torch", "onnx", "onnxruntime-gpu", "pip", "hatchling"} & set(packages)


def test_the_container_holds_what_the_locks_and_the_sbom_list(
    docker: Docker, cpu_image: str, packages: dict[str, str]
) -> None:
    sbom = json.loads(docker.output("run", "--rm", "--entrypoint=cat", cpu_image, "/opt/cutout/sbom.json"))
    others = {name: version for name, version in packages.items() if name != "cutout-server"}

    assert sbom["bomFormat"] == "CycloneDX"
    assert {canonical(each["name"]): each["version"] for each in sbom["components"]} == packages
    assert others == {name: version for name, version in pins("cpu").items() if name in others}


def test_a_package_with_another_hash_is_refused(docker: Docker, build: Callable[..., str]) -> None:
    lock = (ROOT / "docker/locks/build.txt").read_text(encoding="utf-8")
    (six,) = re.findall(r"^six==[^\n]+\n(?:    --hash=\S+.*\n?)+", lock, re.MULTILINE)
    changed = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", six)
    command = (
        "cat > /tmp/six.txt && /opt/build/bin/pip install --target /tmp/t --require-hashes -r /tmp/six.txt"
    )
    image = build("tools")
    run = ("run", "--rm", "--interactive", "--network=host", "--entrypoint=sh", image, "-c", command)
    done = docker.run(*run, check=False, text=changed)

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_a_change_of_the_code_reuses_the_layers_of_the_packages_and_the_models(
    docker: Docker, build: Callable[..., str], cpu_image: str, tmp_path: Path
) -> None:
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("app", "model_export", "docker"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "app/web/page/index.html").open("a") as page:
        page.write("<!-- changed -->\n")
    changed = build("cpu", context=tmp_path, tag="changed")
    before, after = layers(docker, cpu_image), layers(docker, changed)

    # Of the service, and of the step that verifies the models.
    assert before != after
    assert before[:-2] == after[:-2]


def layers(docker: Docker, image: str) -> list[str]:
    listed: list[str] = json.loads(docker.output("inspect", "-f", "{{json .RootFS.Layers}}", image))
    return listed

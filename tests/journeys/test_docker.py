"""The images without Docker: the steps of the Dockerfile in a clean directory, then its entry point."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import httpx
import pytest

from tests.deploy.test_images import canonical, pins
from tests.journeys.conftest import ROOT, free_port
from tests.journeys.dockerfile import Replay
from tests.pictures import jpeg, photo

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.images]
UNPRIVILEGED = 65534


@pytest.fixture(scope="module")
def image() -> Iterator[Replay]:
    """The image for CPUs, with the small model."""
    root = Path(tempfile.mkdtemp(prefix="cutout-image-"))
    root.chmod(0o755)
    try:
        yield Replay(
            ROOT / "Dockerfile",
            "cpu",
            root=root,
            python=_python_for_all_users(),
            arguments={"MODELS": "u2netp"},
        )
    finally:
        shutil.rmtree(root)


def _python_for_all_users() -> Path:
    """Return an interpreter that an unprivileged user can start, because the service runs as one."""
    for candidate in (Path("/usr/bin/python3"), Path(os.path.realpath(sys.executable))):
        version = subprocess.run(
            [candidate, "-c", "import sys, venv, ensurepip; print(sys.version_info >= (3, 11))"],
            capture_output=True,
            text=True,
        )
        if version.stdout.strip() == "True":
            return candidate
    pytest.skip("no Python 3.11 with venv outside this environment")


def _as_unprivileged_user() -> dict[str, int]:
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED} if os.geteuid() == 0 else {}


def test_the_built_service_runs_as_an_unprivileged_user_and_exits_with_0(image: Replay) -> None:
    runtime = image.stages["cpu"]
    port = free_port()
    environment = {
        **image.process_environment(runtime),
        "CUTOUT_MODELS": "u2netp",
        "CUTOUT_WEB__PORT": str(port),
        "CUTOUT_WEB__HOST": "127.0.0.1",
        "CUTOUT_WEB__METRICS_PORT": "0",
    }
    program = shutil.which(runtime.entrypoint[0], path=environment["PATH"])
    assert program is not None
    server = subprocess.Popen(
        [program, *runtime.entrypoint[1:]],
        env=environment,
        cwd=runtime.path_of("."),
        **_as_unprivileged_user(),
    )
    try:
        _wait_until_healthy(image, environment)
        response = httpx.post(
            f"http://127.0.0.1:{port}/v1/cutout", content=jpeg(photo(240, 320)), timeout=120
        )
        server.send_signal(signal.SIGTERM)

        assert response.status_code == 200
        assert server.wait(120) == 0
    finally:
        server.kill()


def _wait_until_healthy(image: Replay, environment: dict[str, str]) -> None:
    """Wait until the image's own health check succeeds."""
    runtime = image.stages["cpu"]
    give_up_at_s = time.monotonic() + 180
    while True:
        check = subprocess.run(
            runtime.healthcheck, env=environment, capture_output=True, text=True, **_as_unprivileged_user()
        )
        if check.returncode == 0:
            return
        assert time.monotonic() < give_up_at_s, check.stderr
        time.sleep(0.2)


def test_the_image_has_no_torch_no_export_and_no_installer(image: Replay) -> None:
    packages = set(installed(image))

    assert {"cutout-server", "onnxruntime"} <= packages
    assert not {"torch", "onnx", "onnxruntime-gpu", "pip", "hatchling"} & packages


def test_the_installed_packages_match_the_pins_and_the_sbom(image: Replay) -> None:
    packages = installed(image)
    pinned = {name: version for name, version in pins("cpu").items() if name in packages}
    listed = json.loads(image.stages["cpu"].path_of("/opt/cutout/sbom.json").read_text(encoding="utf-8"))

    assert {name: version for name, version in packages.items() if name != "cutout-server"} == pinned
    assert {canonical(each["name"]): each["version"] for each in listed["components"]} == packages
    assert listed["bomFormat"] == "CycloneDX"


def test_a_package_with_another_hash_is_refused(image: Replay, tmp_path: Path) -> None:
    lock = (ROOT / "docker/locks/build.txt").read_text(encoding="utf-8")
    (six,) = re.findall(r"^six==[^\n]+\n(?:    --hash=\S+.*\n?)+", lock, re.MULTILINE)
    (tmp_path / "six.txt").write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", six))
    pip = image.stages["wheel"].path_of("/opt/build/bin/pip")
    command = [pip, "install", "--target", tmp_path / "t", "--require-hashes", "-r", tmp_path / "six.txt"]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def installed(image: Replay) -> dict[str, str]:
    """Return the packages of the image and their versions."""
    (folder,) = image.stages["cpu"].path_of("/opt/cutout/lib").glob("python*/site-packages")
    return {canonical(each.name): each.version for each in distributions(path=[str(folder)])}


def test_the_image_does_not_run_as_root_and_starts_by_exec(image: Replay) -> None:
    runtime = image.stages["cpu"]

    assert runtime.user == "10001"
    assert [f"useradd --system --uid {runtime.user} --no-create-home cutout"] == image.skipped
    assert runtime.entrypoint == ["cutout", "serve"]

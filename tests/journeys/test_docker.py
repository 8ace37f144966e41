"""The images, without an engine: the Dockerfile's own steps in a clean directory, then its entry."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.journeys.conftest import ROOT
from tests.journeys.dockerfile import Replay
from tests.pictures import jpeg, photo

pytestmark = [pytest.mark.journey, pytest.mark.slow]
NOBODY = 65534


@pytest.fixture(scope="module")
def image() -> Iterator[Replay]:
    """The Dockerfile carried out, with the small model and without the CUDA libraries."""
    root = Path(tempfile.mkdtemp(prefix="cutout-image-"))
    root.chmod(0o755)
    try:
        yield Replay(
            ROOT / "Dockerfile",
            root=root,
            python=_python_for_everybody(),
            arguments={"MODELS": "u2netp", "EXTRAS": ""},
        )
    finally:
        shutil.rmtree(root)


def _python_for_everybody() -> Path:
    """Return an interpreter that an unprivileged user can start, since the service runs as one."""
    for candidate in (Path("/usr/bin/python3"), Path(os.path.realpath(sys.executable))):
        version = subprocess.run(
            [candidate, "-c", "import sys, venv, ensurepip; print(sys.version_info >= (3, 11))"],
            capture_output=True,
            text=True,
        )
        if version.stdout.strip() == "True":
            return candidate
    pytest.skip("no Python 3.11 with venv outside this environment")


def _as_nobody() -> dict[str, int]:
    return {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_built_service_answers_as_an_unprivileged_user_and_stops_with_0(image: Replay) -> None:
    runtime = image.stages["runtime"]
    port = _free_port()
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
        [program, *runtime.entrypoint[1:]], env=environment, cwd=runtime.here("."), **_as_nobody()
    )
    try:
        _wait_until_healthy(image, environment)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/cutout", content=jpeg(photo(240, 320)), timeout=120)
        server.send_signal(signal.SIGTERM)

        assert answer.status_code == 200
        assert server.wait(120) == 0
    finally:
        server.kill()


def _wait_until_healthy(image: Replay, environment: dict[str, str]) -> None:
    """Wait until the image's own health check succeeds."""
    runtime = image.stages["runtime"]
    give_up_at_s = time.monotonic() + 180
    while True:
        check = subprocess.run(
            runtime.healthcheck, env=environment, capture_output=True, text=True, **_as_nobody()
        )
        if check.returncode == 0:
            return
        assert time.monotonic() < give_up_at_s, check.stderr
        time.sleep(0.2)


def test_the_image_has_neither_torch_nor_the_export(image: Replay) -> None:
    runtime = image.stages["runtime"]
    packages = {path.name for path in runtime.here("/opt/cutout/lib").glob("python*/site-packages/*")}

    assert {"app", "onnxruntime"} <= packages
    assert not {"torch", "onnx", "model_export"} & packages


def test_the_image_does_not_run_as_root_and_starts_by_exec(image: Replay) -> None:
    runtime = image.stages["runtime"]

    assert runtime.user == "cutout"
    assert [f"useradd --system --uid 10001 --no-create-home {runtime.user}"] == image.skipped
    assert runtime.entrypoint == ["cutout", "serve"]


def test_compose_reserves_a_gpu_and_refuses_a_silent_cpu() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    (device,) = services["cutout"]["deploy"]["resources"]["reservations"]["devices"]

    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services["cutout"]["environment"]["CUTOUT_DEVICE"] == "cuda"
    assert services["cutout-cpu"]["profiles"] == ["cpu"]
    assert "profiles" not in services["cutout"]

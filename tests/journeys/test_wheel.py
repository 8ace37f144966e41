"""The wheel, where nothing of this repository is: neither its files, nor git, nor make.

The folder of each test has a folder ``app``, as projects of others often do.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.journeys.conftest import Server
from tests.journeys.packages import UV, build_packages
from tests.pictures import jpeg, photo

pytestmark = [pytest.mark.journey, pytest.mark.slow]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (found,) = build_packages(tmp_path_factory.mktemp("dist")).glob("*.whl")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, in which commands run."""
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(240, 320)))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('the app of another project')")
    return tmp_path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The programs of a new environment with pip and the wheel, and no other programs."""
    made = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([UV, "venv", "--quiet", "--seed", "--python", sys.executable, made], check=True)
    command = (UV, "pip", "install", "--quiet", "--python", made / "bin/python", wheel)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"packages cannot be installed: {done.stderr[-200:]}")
    return made / "bin"


def run(folder: Path, programs: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with the programs of an environment only."""
    name, *arguments = (str(part) for part in command)
    left_out = ("CUTOUT_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return subprocess.run(
        [programs / name, *arguments],
        cwd=folder,
        # Without one, uv would look for a Python among the programs, and download another.
        env={**kept, "PATH": str(programs), "UV_PYTHON": sys.executable, "CUTOUT_PRECISION": "float32"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.process.kill()
        server.process.wait()


def test_a_new_environment_serves_a_picture(environment: Path, folder: Path, servers: list[Server]) -> None:
    unready = run(folder, environment, "cutout", "models", "add", "u2netp", "--yes")
    remedy = re.search(r"install it: (pip install '[^']+')", unready.stderr)
    assert remedy is not None, unready.stderr
    installed = run(folder, environment, *shlex.split(remedy.group(1)))
    assert installed.returncode == 0, installed.stderr
    added = run(folder, environment, "cutout", "models", "add", "u2netp", "--yes")
    assert added.returncode == 0, added.stderr
    server = Server(
        *("--model", "u2netp"),
        environment={"PATH": str(environment), "PYTHONPATH": "", "CUTOUT_ENGINE__DECODERS": "1"},
        program=environment / "cutout",
        folder=folder,
    )
    servers.append(server)
    url = server.url
    response = httpx.post(f"{url}/v1/cutout", content=(folder / "photo.jpg").read_bytes())

    assert (200, "image/png") == (response.status_code, response.headers["content-type"])
    assert "u2netp" == response.headers["x-cutout-model"]
    assert "img-comparison-slider" in httpx.get(f"{url}/").text


@pytest.mark.whole
def test_uvx_removes_the_background_of_a_file(wheel: Path, folder: Path) -> None:
    programs = folder / "programs"
    programs.mkdir()
    for name in ("dirname", "realpath"):  # what the script that starts a tool of uv calls
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "uv").symlink_to(UV)

    def uvx(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(folder, programs, "uv", "tool", "run", *arguments)

    begun = uvx("--from", str(wheel), "cutout", "remove", "photo.jpg")
    assert 1 == begun.returncode
    assert "models/u2net/manifest.json is missing; run: cutout models add u2net" in begun.stderr
    unready = uvx("--from", str(wheel), "cutout", "models", "add", "u2netp", "--yes")
    assert "uvx --with onnx" in unready.stderr
    added = uvx("--with", "onnx", "--from", str(wheel), "cutout", "models", "add", "u2netp", "--yes")
    assert added.returncode == 0, added.stderr
    done = uvx("--from", str(wheel), "cutout", "remove", "photo.jpg", "--model", "u2netp")
    assert done.returncode == 0, done.stderr

    assert "RGBA" == Image.open(folder / "photo-cutout.png").mode

"""Packages for tests: installed with uv, or with pip where uv cannot reach the index; and with npm."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")


def install(folder: Path, *arguments: str) -> None:
    """Install packages into a folder for ``PYTHONPATH``; skip the test if that is not possible."""
    uv = (UV, "pip", "install", "--quiet", "--python", sys.executable)
    pip = (sys.executable, "-m", "pip", "install", "--quiet")
    _run_first(*((*installer, "--target", folder, *arguments) for installer in (uv, pip)))


def make_environment(folder: Path, *arguments: str) -> None:
    """Make a virtual environment and install packages into it; skip the test if that is not possible."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    uv = (UV, "pip", "install", "--quiet", "--python", python, *arguments)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *arguments)
    _run_first(uv, pip)


def npm_package(requirement: str, folder: Path) -> Path:
    """Unpack a package of npm's registry, and return its folder; skip the test if it cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("this machine has no npm")
    finished = subprocess.run(
        ["npm", "pack", requirement, "--pack-destination", str(folder)], capture_output=True, text=True
    )
    if finished.returncode != 0:
        pytest.skip(f"{requirement} cannot be downloaded: {finished.stderr[-200:]}")
    (archive,) = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder, filter="data")
    return folder / "package"


def build_packages(folder: Path) -> Path:
    """Build this project's sdist, and its wheel from that; skip the test if hatchling cannot be had."""
    command = (UV, "build", "--quiet", "--out-dir", folder, Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 and "hatchling" in done.stderr:
        pytest.skip(f"the packages cannot be built: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return folder


def _run_first(*commands: tuple[str | Path, ...]) -> None:
    """Run commands until one succeeds; skip the test with the last one's message if none does."""
    message = ""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        message = done.stderr[-200:]
    pytest.skip(f"packages cannot be installed: {message}")

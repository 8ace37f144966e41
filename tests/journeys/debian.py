"""Debian programs for tests: the installed one, or the package unpacked into a folder."""

import shutil
import subprocess
from pathlib import Path

import pytest


def debian_program(name: str, folder: Path) -> Path:
    """Return the program of the package of the same ``name``; skip the test if it is not available."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    for command in (["apt-get", "download", name], ["sh", "-c", f"dpkg -x {name}_*.deb ."]):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"{name} is not installed, and there is no apt-get")
        if done.returncode != 0:
            pytest.skip(
                f"{name} is not installed, and its package cannot be downloaded: {done.stderr[-200:]}"
            )
    return folder / "usr/bin" / name

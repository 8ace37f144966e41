"""Programs of Debian that a test wants to meet: this machine's, or unpacked into a folder, not installed."""

import shutil
import subprocess
from pathlib import Path

import pytest


def debian_program(name: str, folder: Path) -> Path:
    """Return the program of the package of the same ``name``; skip, and say why, where it cannot be had."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    for command in (["apt-get", "download", name], ["sh", "-c", f"dpkg -x {name}_*.deb ."]):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"there is no {name}, and no apt-get to fetch it")
        if done.returncode != 0:
            pytest.skip(f"there is no {name}, and Debian's is out of reach: {done.stderr[-200:]}")
    return folder / "usr/bin" / name

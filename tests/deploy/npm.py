"""npm: installs packages for a test to compile against, in a folder of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

TYPESCRIPT = "typescript@5.9.3"
COMPILE = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext")


def npm_packages(folder: Path, *packages: str) -> Path:
    """Install TypeScript and ``packages``; skip the test, with the reason, if they cannot be installed."""
    if shutil.which("npm") is None:
        pytest.skip("this machine has no npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", TYPESCRIPT, *packages]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if finished.returncode != 0:
        pytest.skip(f"{', '.join(packages)} cannot be installed: {finished.stderr[-200:]}")
    return folder


def compiler_errors(folder: Path, program: str) -> str:
    """Return the TypeScript compiler's output for a program; empty if there are no errors."""
    (folder / "program.ts").write_text(program, encoding="utf-8")
    command = ["node_modules/.bin/tsc", *COMPILE, "program.ts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout

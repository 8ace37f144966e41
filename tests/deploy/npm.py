"""Packages of npm that a test compiles against, in a folder of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

TYPESCRIPT = "typescript@5.9.3"
COMPILE = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext")


def npm_packages(folder: Path, *packages: str) -> Path:
    """Install TypeScript and ``packages``; skip, and say why, where they cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm on this machine")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", TYPESCRIPT, *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{', '.join(packages)} cannot be had: {done.stderr[-200:]}")
    return folder


def compiler_says(folder: Path, program: str) -> str:
    """Return what TypeScript's compiler says of a program; nothing is right."""
    (folder / "program.ts").write_text(program, encoding="utf-8")
    command = ["node_modules/.bin/tsc", *COMPILE, "program.ts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout

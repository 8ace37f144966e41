"""Environments: makes one virtual environment for each peer, with the packages that its module names.

An environment that has the wanted packages is kept. A failed installation is no error of the benchmark: its
reason goes into the report.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import Peer

INSTALL_TIMEOUT_S = 1800.0
RECORD = "requirements-installed.txt"


class NotInstalled(Exception):
    """A peer cannot be installed; the text is the reason."""


def interpreter_of(peer: Peer, folder: Path) -> Path:
    """Return the interpreter of a peer's environment, after installing the peer if necessary.

    Args:
        peer: The peer; one without requirements runs in the benchmark's own environment.
        folder: The folder of all environments.

    Raises:
        NotInstalled: ``pip`` failed, or took longer than half an hour.
    """
    if not peer.requirements:
        return Path(sys.executable)
    environment = folder / peer.name
    python, record = environment / "bin" / "python", environment / RECORD
    wanted = "\n".join(peer.requirements)
    if record.exists() and record.read_text() == wanted:
        return python
    print(f"Installing {peer.name}: {', '.join(peer.requirements)}", file=sys.stderr, flush=True)
    _run("-m", "venv", str(environment), python=Path(sys.executable))
    for requirement in peer.requirements:  # in this order: torch before what needs any torch
        _run("-m", "pip", "install", "--quiet", *requirement.split(), python=python)
    record.write_text(wanted)
    return python


def installed_versions(python: Path) -> dict[str, str]:
    """Return the versions of the packages in an environment that a reader of the report needs."""
    code = (
        "import importlib.metadata as m, json; wanted = ('rembg', 'backgroundremover', 'batchroom', 'snipbg',"
        " 'withoutbg', 'fastapi', 'litserve', 'bentoml', 'ray', 'onnxruntime', 'onnxruntime-gpu', 'torch',"
        " 'pillow', 'numpy'); print(json.dumps({d.metadata['Name'].lower(): d.version"
        " for d in m.distributions() if (d.metadata['Name'] or '').lower() in wanted}))"
    )
    done = subprocess.run((str(python), "-c", code), capture_output=True, text=True, check=True, timeout=120)
    return dict(sorted(json.loads(done.stdout).items()))


def _run(*arguments: str, python: Path) -> None:
    try:
        subprocess.run(
            (str(python), *arguments), capture_output=True, text=True, check=True, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines or ["no message"]
        raise NotInstalled(f"{' '.join(arguments)} failed: {errors[-1][:300]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{' '.join(arguments)} took longer than {INSTALL_TIMEOUT_S:g} s") from error

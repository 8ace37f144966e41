"""Runs the real command in a real process."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import IO

import pytest

from tests.networks import redness_model

ROOT = Path(__file__).resolve().parents[2]
CUTOUT = Path(sys.executable).with_name("cutout")


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A ``cutout serve`` process, its output and its address."""

    def __init__(
        self,
        *arguments: str,
        environment: dict[str, str],
        stderr: IO[str] | int = subprocess.PIPE,
        program: Path = CUTOUT,
        folder: Path = ROOT,
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
        self.process = subprocess.Popen(
            [str(program), "serve", "--port", "0", *arguments],
            # Without a load balancer in front, the drain needs no delay.
            env={
                **clean,
                "CUTOUT_WEB__METRICS_PORT": "0",
                "CUTOUT_PRECISION": "float32",
                "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": "0",
                **environment,
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._output: Queue[str] = Queue()
        for stream, lines in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr)):
            threading.Thread(target=self._collect, args=(stream, lines), daemon=True).start()

    def _collect(self, stream: object, lines: list[str]) -> None:
        for line in stream or ():  # type: ignore[attr-defined] # a text stream
            lines.append(line.rstrip())
            self._output.put(line.rstrip())

    def wait_for(self, pattern: str, *, timeout_s: float = 180) -> str:
        """Return the last group of the first matching output line, or the match without groups."""
        try:
            while True:
                match = re.search(pattern, self._output.get(timeout=timeout_s))
                if match:
                    return match.group(match.lastindex or 0)
        except Empty:
            raise AssertionError(
                f"no output matches {pattern!r}:\n" + "\n".join(self.stdout + self.stderr)
            ) from None

    @property
    def url(self) -> str:
        """The URL that the server prints when it is ready."""
        return self.wait_for(r"Cutout listens on\s+(\S+)")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(120)


@pytest.fixture(scope="session")
def served_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that servers load: a fast one named u2netp, unless a test module overrides this."""
    folder = tmp_path_factory.mktemp("models")
    redness_model(folder, "u2netp")
    return folder


@pytest.fixture
def serve(served_models: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that are killed at the end of the test."""
    running: list[Server] = []

    def start(
        *arguments: str,
        models: Path = served_models,
        stderr: IO[str] | int = subprocess.PIPE,
        **environment: str,
    ) -> Server:
        environment = {"CUTOUT_MODELS_DIR": str(models), **environment}
        server = Server(*arguments, environment=environment, stderr=stderr)
        running.append(server)
        return server

    yield start
    for server in running:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def damaged_models(models_dir: Path, tmp_path: Path) -> Path:
    """A folder with the small model twice: unchanged, and as ``broken`` with one changed byte."""
    shutil.copytree(models_dir / "u2netp", tmp_path / "u2netp")
    shutil.copytree(models_dir / "u2netp", tmp_path / "broken")
    model = tmp_path / "broken" / "model.onnx"
    changed = bytearray(model.read_bytes())
    changed[len(changed) // 2] ^= 1
    model.write_bytes(changed)
    return tmp_path

"""Server: runs ``cutout serve`` as a separate process, and measures it from outside.

By default the model is u2netp and the device the CPU; ``CUTOUT_*`` variables of the benchmark's environment
are passed to the server. Memory and processor time are read from ``/proc`` (Linux).
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 120.0


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the model to serve."""
    parser.add_argument("--model", default="u2netp")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")


class Server:
    """A context manager that runs a server on a free port; on entry the server is ready."""

    def __init__(
        self,
        model: str,
        models_dir: Path,
        settings: dict[str, str] | None = None,
        *,
        command: tuple[str, ...] | None = None,
        root: Path = ROOT,
    ) -> None:
        environment = {
            "CUTOUT_DEVICE": "cpu",
            "CUTOUT_LIFECYCLE__DRAIN_DELAY_S": "0",
            **{name: text for name, text in os.environ.items() if name.startswith("CUTOUT_")},
            **(settings or {}),
            "CUTOUT_MODELS_DIR": str(models_dir),
            "CUTOUT_WEB__METRICS_PORT": "0",
            "CUTOUT_WEB__CONNECTIONS_PER_ADDRESS": "none",  # all clients have the same address
        }
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        cutout = str(Path(sys.executable).with_name("cutout"))
        arguments = ("--host", "127.0.0.1", "--port", "0", "--model", model)
        self.process = subprocess.Popen(
            command or (cutout, "serve", *arguments),
            env={**os.environ, "PYTHONPATH": str(root), **environment},
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self._stdout_lines: Queue[str] = Queue()
        threading.Thread(target=self._read_stdout, daemon=True).start()

    def __enter__(self) -> Self:
        try:
            url = self._wait_for(r"Cutout listens on\s+http://(\S+)")
            self.host, _, port = url.rpartition(":")
            self.port = int(port)
            self.metrics_url = self._wait_for(r"Metrics\s+(http\S+)")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self.process.pid

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        return self.process.poll() is None

    def metrics(self) -> dict[str, float]:
        """Return every sample of the metrics page; the keys include the labels."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as page:
            families = text_string_to_metric_families(page.read().decode())
        return {
            sample.name + "".join(f",{name}={text}" for name, text in sorted(sample.labels.items())): (
                sample.value
            )
            for family in families
            for sample in family.samples
        }

    def cpu_s(self) -> float:
        """Return the processor time that the server has used so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Return the current resident memory of the server."""
        return status_bytes(self.pid, "VmRSS")

    def peak_bytes(self) -> int:
        """Return the peak memory of the server since its start, or since ``forget_peak``."""
        return status_bytes(self.pid, "VmHWM")

    def forget_peak(self) -> None:
        """Reset the peak memory."""
        forget_peak(self.pid)

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the server's log."""
        self.log.seek(0)
        return "\n".join(self.log.read().decode(errors="replace").splitlines()[-lines:])

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._stdout_lines.put(line)
        self._stdout_lines.put("")

    def _wait_for(self, pattern: str) -> str:
        try:
            while line := self._stdout_lines.get(timeout=START_TIMEOUT_S):
                if match := re.search(pattern, line):
                    return match.group(1)
        except Empty:
            pass
        raise SystemExit(f"The server did not start:\n{self.log_tail()}")

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def machine_busy_s() -> float:
    """Return the processor time that all programs of this machine have used so far, in seconds."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def forget_peak(pid: int | str) -> None:
    """Reset the peak memory of a process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def status_bytes(pid: int | str, name: str) -> int:
    """Return a size of a process from ``/proc``: ``VmRSS`` is its current memory, ``VmHWM`` the peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"there is no {name}")

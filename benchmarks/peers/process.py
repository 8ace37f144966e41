"""Process: starts a peer as a process of its own, waits until it serves, and measures all its processes.

Memory and processor time are read from ``/proc`` (Linux): many peers are several processes. The memory of
processes that share pages counts them in each.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.peers.peer import Launch, Peer

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
SAMPLE_S = 0.1
TREE_S = 2.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class NotStarted(Exception):
    """A peer did not start; the text is the reason, with the end of its log."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class PeerProcess:
    """A context manager that runs a peer; on entry it serves.

    The system ends this process tree first if memory runs out (``oom_score_adj``).
    """

    host = "127.0.0.1"

    def __init__(self, peer: Peer, launch: Launch, *, max_bytes: int) -> None:
        self.peer = peer
        self.launch = launch
        self.port = launch.port
        self.peak_bytes = 0
        self.why_ended: str | None = None
        self.start_s = 0.0
        self._max_bytes = max_bytes
        self._stopping = threading.Event()
        self._tree: list[int] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(
            prefix=f"peer-{self.peer.name}-", ignore_cleanup_errors=True
        )
        launch = replace(self.launch, scratch=Path(self._folder.name))
        try:
            self.peer.prepare(launch)
        except subprocess.CalledProcessError as error:
            raise NotStarted(f"its weights could not be prepared: {error.stderr[-500:]}") from error
        self._log = tempfile.TemporaryFile()
        began_s = time.monotonic()
        self.process = subprocess.Popen(
            self.peer.command(launch),
            env={**_inherited(), **self.peer.environment(launch)},
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/oom_score_adj").write_text("1000")
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.start_s = time.monotonic() - began_s
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self.resume()
        others = process_tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        others = {*others, *process_tree(self.process.pid)} - {self.process.pid}
        _kill(others)
        self._log.close()
        self._folder.cleanup()

    def pause(self) -> None:
        """Stop all processes of the peer, so that they use no processor time until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the processes go on after ``pause``."""
        self._signal(signal.SIGCONT)

    def is_alive(self) -> bool:
        """Return whether the process that was started is running."""
        return self.process.poll() is None

    def cpu_s(self) -> float:
        """Return the processor time that the running processes have used so far, in seconds."""
        return sum(_cpu_s(pid) for pid in process_tree(self.process.pid))

    def forget_peak(self) -> None:
        """Start a new measurement of the peak memory."""
        self.peak_bytes = 0

    def log_tail(self, lines: int = 8) -> str:
        """Return the last lines of the log."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            for pid in process_tree(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _wait_until_ready(self) -> None:
        url = f"http://{self.host}:{self.port}{self.peer.ready_path}"
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if not self.is_alive():
                raise NotStarted(f"it exited with {self.process.returncode}: {self.log_tail()}")
            if _status_of(url) == self.peer.ready_status:
                return
            time.sleep(0.2)
        raise NotStarted(
            f"{url} was not {self.peer.ready_status} within {START_TIMEOUT_S:g} s: {self.log_tail()}"
        )

    def _sample(self) -> None:
        """Keep the peak memory, and end the peer if it needs more than it may."""
        tree_s = 0.0
        while not self._stopping.wait(SAMPLE_S):
            if time.monotonic() - tree_s > TREE_S:
                self._tree, tree_s = process_tree(self.process.pid), time.monotonic()
            held = sum(_rss_bytes(pid) for pid in self._tree)
            self.peak_bytes = max(self.peak_bytes, held)
            if held > self._max_bytes and self.why_ended is None:
                self.why_ended = f"ended by the benchmark: it held {held / 2**30:.1f} GiB"
                _kill(process_tree(self.process.pid))


def process_tree(pid: int) -> list[int]:
    """Return a process, the others of its session and all their descendants, as far as they are alive."""
    children: dict[int, list[int]] = {}
    waiting = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
            children.setdefault(int(parent), []).append(int(path.parent.name))
            if int(session) == pid:
                waiting.append(int(path.parent.name))
    found: set[int] = set()
    while waiting:
        if (each := waiting.pop()) not in found:
            found.add(each)
            waiting += children.get(each, [])
    return sorted(found)


def _status_of(url: str) -> int:
    """Return the status of a GET; 0 if the connection fails."""
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _inherited() -> dict[str, str]:
    """Return the benchmark's environment without its own settings of Python and of this server."""
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("CUTOUT_") and name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }


def _kill(pids: Iterable[int]) -> None:
    """Kill processes, and wait until they have ended."""
    alive = set(pids)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while any(is_running(pid) for pid in alive) and time.monotonic() < deadline_s:
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Return whether a process exists and has not ended; an ended one may wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS

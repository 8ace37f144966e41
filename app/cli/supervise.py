"""Supervise: a supervisor process that owns the listening socket and restarts the server process.

    python ── cutout serve --supervise            opens the socket, never serves, imports nothing large
       └───── cutout serve … --inherited 3,4,     serves on the inherited socket, sends heartbeats

Rule 1: the socket outlives each server process, so connections wait in its backlog during a restart.
Rule 2: heartbeats have their own pipe. A server process without heartbeats, or with a hanging executor, is
killed; when the pipe is closed, the process must exit.
Rule 3: if the first server process exits with an error before it is ready, the supervisor exits with the same
code instead of restarting it.
Rule 4: signals are passed on, and the server process drains. The supervisor does not handle requests.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType

import structlog

from app.cli.stopping import on_stop
from app.engine.capacity.cgroup import memory_limit, oom_kills
from app.engine.clock import Clock
from app.settings import Lifecycle

ALIVE, READY, STUCK = b".", b"+", b"!"
"""The heartbeats of a server process: it is loading, it is ready, its executor hangs."""

LOADING_TIMEOUT_S = 120.0
"""Allowed silence before a process is ready: loading a library may block its interpreter."""
SHORT_RUN_S = 10.0
MAX_RESTART_DELAY_S = 30.0
EXIT_GRACE_S = 1.5
"""Time for the server process to exit after the end of its drain."""
FORCED_EXIT_S = 0.8
"""Time for both processes to exit after a second signal."""

log = structlog.get_logger("cutout.supervise")


class RestartReason(StrEnum):
    """Why a server process was restarted; the names, in lower case, are label values of a metric."""

    ENDED = "it exited"
    OUT_OF_MEMORY = "the kernel killed it for lack of memory"
    SILENT = "it sent no heartbeat"
    HANGS = "its executor hangs"
    UNHEARD = "it closed its heartbeat pipe"
    LATE = "it did not exit in time"


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a server process gets from its supervisor.

    Attributes:
        listener_fd: The descriptor of the listening socket.
        heartbeat_fd: The descriptor of the heartbeat pipe.
        restarts: The number of restarts by ``RestartReason``, by its name in lower case.
    """

    listener_fd: int
    heartbeat_fd: int
    restarts: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        restarts = "+".join(f"{name}:{count}" for name, count in self.restarts.items())
        return f"{self.listener_fd},{self.heartbeat_fd},{restarts}"

    @classmethod
    def parse(cls, text: str) -> "Inherited":
        """Parse the result of ``str``.

        Raises:
            ValueError: The text has another format.
        """
        listener_fd, heartbeat_fd, restarts = text.split(",")
        counts = (part.split(":") for part in restarts.split("+") if part)
        return cls(int(listener_fd), int(heartbeat_fd), {name: int(count) for name, count in counts})


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What the supervisor knows about the server process.

    Attributes:
        last_heartbeat_s: The instant of its last heartbeat, or of its start.
        is_ready: Whether its models are loaded and warm.
        is_stuck: Whether its executor hangs.
        stop_by_s: The instant by which it must exit, or ``None`` before the first signal.
    """

    last_heartbeat_s: float
    is_ready: bool = False
    is_stuck: bool = False
    stop_by_s: float | None = None


def kill_reason(state: ProcessState, now_s: float, *, hang_timeout_s: float) -> RestartReason | None:
    """Return why the server process must be killed, or None; it may be silent for longer while loading."""
    if state.stop_by_s is not None:
        return RestartReason.LATE if now_s >= state.stop_by_s else None
    if state.is_stuck:
        return RestartReason.HANGS
    timeout_s = hang_timeout_s if state.is_ready else max(hang_timeout_s, LOADING_TIMEOUT_S)
    return RestartReason.SILENT if now_s - state.last_heartbeat_s > timeout_s else None


def restart_delay_s(short_runs: int) -> float:
    """Return the time to wait before a restart, after consecutive short runs of the server process."""
    return 0.0 if short_runs < 2 else min(MAX_RESTART_DELAY_S, 0.5 * 2.0 ** min(short_runs - 2, 16))


def exit_code(returncode: int, signals: tuple[int, ...]) -> int:
    """Return the supervisor's exit code for the server's return code and the signals that were passed on."""
    if len(signals) > 1:
        return 1
    if returncode >= 0:
        return returncode
    return 0 if -returncode in signals else 128 - returncode


class Supervisor:
    """Keeps one server process running on one socket."""

    def __init__(
        self,
        command: list[str],
        listener: socket.socket,
        lifecycle: Lifecycle,
        clock: Clock,
        *,
        root: Path = Path("/"),
    ) -> None:
        self._root = root  # of the cgroup's paths
        self._command = command
        self._listener = listener
        self._lifecycle = lifecycle
        self._clock = clock
        self._signals: tuple[int, ...] = ()
        self._passed_on = 0
        self._stop_by_s: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._was_ready = False

    def run(self) -> int:
        """Restart the server process until a signal to stop; return the exit code."""
        on_stop(self._on_signal)
        restarts: dict[str, int] = {}
        short_runs = 0
        while True:
            started_s = self._clock.now_s()
            kills = oom_kills(self._root)
            returncode, reason = self._run_process(restarts)
            lived_s = self._clock.now_s() - started_s
            if self._signals:
                return exit_code(returncode, self._signals)
            if not self._was_ready and returncode > 0:
                return returncode
            if reason is None and returncode == -signal.SIGKILL and oom_kills(self._root) > kills:
                reason = RestartReason.OUT_OF_MEMORY
            reason = reason or RestartReason.ENDED
            name = reason.name.lower()
            restarts[name] = restarts.get(name, 0) + 1
            short_runs = short_runs + 1 if lived_s < SHORT_RUN_S else 0
            wait_s = restart_delay_s(short_runs)
            log.error(
                "restarting the server process",
                why=str(reason),
                returncode=returncode,
                lived_s=round(lived_s, 1),
                pause_s=wait_s,
                restarts=sum(restarts.values()),
                **_remedy(reason, self._root),
            )
            self._pause(wait_s)
            if self._signals:
                return exit_code(0, self._signals)

    def _run_process(self, restarts: Mapping[str, int]) -> tuple[int, RestartReason | None]:
        """Run a server process until it exits; return its return code, and the reason if it was killed."""
        heartbeat, child_end = os.pipe()
        inherited = Inherited(self._listener.fileno(), child_end, restarts)
        # The child inherits the block: a SIGINT before it has a handler waits, instead of a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            # In its own process group: Ctrl-C reaches only the supervisor, which passes it on once.
            process = subprocess.Popen(  # noqa: S603 - the command line of this process
                [*self._command, "--inherited", str(inherited)],
                pass_fds=(self._listener.fileno(), child_end),
                process_group=0,
            )
            self._process = process
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        os.close(child_end)
        self._pass_on_signals()  # a signal may have arrived before the process existed
        try:
            reason = self._watch(heartbeat)
            if reason is not None:
                process.kill()
            return process.wait(), reason
        finally:
            self._process = None
            os.close(heartbeat)

    def _watch(self, heartbeat: int) -> RestartReason | None:
        """Return None when the server process has exited, or the reason to kill it."""
        last_heartbeat_s = self._clock.now_s()
        is_ready = is_stuck = False
        while True:
            readable, _, _ = select.select([heartbeat], [], [], 0.1)
            if readable:
                heartbeats = os.read(heartbeat, 4096)
                if not heartbeats:
                    return self._wait_for_exit()
                is_ready, is_stuck = is_ready or READY in heartbeats, heartbeats.endswith(STUCK)
                last_heartbeat_s = self._clock.now_s()
                self._was_ready = self._was_ready or is_ready
            if self._signals:
                self._listener.close()  # the server process still has it open; there is no restart
            state = ProcessState(last_heartbeat_s, is_ready, is_stuck, self._stop_by_s)
            reason = kill_reason(state, self._clock.now_s(), hang_timeout_s=self._lifecycle.hang_timeout_s)
            if reason is not None:
                return reason

    def _wait_for_exit(self) -> RestartReason | None:
        assert self._process is not None  # noqa: S101 - ``_watch`` runs only with a process
        try:
            self._process.wait(FORCED_EXIT_S)
        except subprocess.TimeoutExpired:
            return RestartReason.UNHEARD
        return None

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals = (*self._signals, number)
        drain_s = self._lifecycle.drain_delay_s + self._lifecycle.drain_timeout_s + EXIT_GRACE_S
        self._stop_by_s = self._clock.now_s() + (drain_s if len(self._signals) == 1 else FORCED_EXIT_S)
        self._pass_on_signals()

    def _pass_on_signals(self) -> None:
        while self._process is not None and self._passed_on < len(self._signals):
            self._passed_on += 1
            self._process.send_signal(self._signals[self._passed_on - 1])

    def _pause(self, seconds: float) -> None:
        until_s = self._clock.now_s() + seconds
        while self._clock.now_s() < until_s and not self._signals:
            time.sleep(0.05)


def _remedy(reason: RestartReason, root: Path) -> dict[str, object]:
    """Return what to log in addition if the server process used up its memory."""
    if reason is not RestartReason.OUT_OF_MEMORY:
        return {}
    limit = memory_limit(root)
    return {
        "memory_mb": None if limit is None else round(limit.value / 1e6),
        "memory_from": None if limit is None else limit.source,
        "remedy": "Raise the container's memory limit, lower CUTOUT_MEMORY_BUDGET, or serve fewer or smaller "
        "models.",
    }


def own_command() -> list[str]:
    """Return the command line that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]

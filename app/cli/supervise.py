"""Supervise: a parent that owns the listening socket and replaces the worker that serves on it.

    python ── cutout serve --supervise            opens the socket, never serves, imports nothing heavy
       └───── cutout serve … --inherited 3,4,     serves on the inherited socket, beats into the pipe

Rule 1: the socket outlives every worker, so connections wait in its backlog while one is replaced.
Rule 2: signs of life come through a pipe of their own. A worker that is silent, or says that its
executor hangs, is killed; the end of the pipe is the end of the worker.
Rule 3: a worker that says at the first start that it cannot serve is believed, and so is its exit code.
Rule 4: a signal is passed on; the worker drains. The parent has no business of its own with requests.
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
from types import FrameType

import structlog

from app.cli.stopping import on_stop
from app.engine.clock import Clock
from app.settings import Lifecycle

ALIVE, READY, STUCK = b".", b"+", b"!"
"""The signs of a worker: it is loading, it is warm and well, its executor hangs."""

LOADING_S = 120.0
"""Silence that is granted to a worker before it is warm: a library that loads may hold the interpreter."""
SHORT_LIFE_S = 10.0
LONGEST_PAUSE_S = 30.0
LATEST_S = 1.5
"""Time after a drain's own end in which the worker has to be gone."""
AT_ONCE_S = 0.8
"""Time that both processes have to end after a second signal."""

log = structlog.get_logger("cutout.supervise")


class Why(StrEnum):
    """Why a worker is replaced; the names are what metrics say, in lower case."""

    ENDED = "it ended"
    SILENT = "it gives no sign of life"
    HANGS = "its executor hangs"
    UNHEARD = "it closed its pipe"
    LATE = "it did not end in time"


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a worker gets from its parent: two file descriptors, and whom it comes after.

    ``restarts`` counts earlier workers by the name of the ``Why`` they were replaced for.
    """

    listener_fd: int
    heartbeat_fd: int
    restarts: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        restarts = "+".join(f"{name}:{count}" for name, count in self.restarts.items())
        return f"{self.listener_fd},{self.heartbeat_fd},{restarts}"

    @classmethod
    def parse(cls, text: str) -> "Inherited":
        """Read what ``str`` wrote.

        Raises:
            ValueError: It is something else.
        """
        listener_fd, heartbeat_fd, restarts = text.split(",")
        counts = (part.split(":") for part in restarts.split("+") if part)
        return cls(int(listener_fd), int(heartbeat_fd), {name: int(count) for name, count in counts})


@dataclass(frozen=True, slots=True)
class Signs:
    """What the parent knows of a worker.

    ``last_s`` is the instant of its last sign, or of its start, ``stop_by_s`` that of its latest end.
    """

    last_s: float
    is_warm: bool = False
    is_stuck: bool = False
    stop_by_s: float | None = None


def why_kill(signs: Signs, now_s: float, *, hang_timeout_s: float) -> Why | None:
    """Return why a worker has to be killed, or None; one that imports and loads may be silent for long."""
    if signs.stop_by_s is not None:
        return Why.LATE if now_s >= signs.stop_by_s else None
    if signs.is_stuck:
        return Why.HANGS
    if now_s - signs.last_s > (hang_timeout_s if signs.is_warm else max(hang_timeout_s, LOADING_S)):
        return Why.SILENT
    return None


def pause_s(short_lives: int) -> float:
    """Return how long to wait before the next start, after so many short lives in a row."""
    return 0.0 if short_lives < 2 else min(LONGEST_PAUSE_S, 0.5 * 2.0 ** min(short_lives - 2, 16))


def exit_code(returncode: int, signals: tuple[int, ...]) -> int:
    """Return the parent's exit code for a worker's return code and the signals that were passed on."""
    if len(signals) > 1:
        return 1
    if returncode >= 0:
        return returncode
    return 0 if -returncode in signals else 128 - returncode


class Supervisor:
    """Keeps one worker alive on one socket."""

    def __init__(
        self, command: list[str], listener: socket.socket, lifecycle: Lifecycle, clock: Clock
    ) -> None:
        self._command = command
        self._listener = listener
        self._lifecycle = lifecycle
        self._clock = clock
        self._signals: tuple[int, ...] = ()
        self._passed_on = 0
        self._stop_by_s: float | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._was_ready = False

    def run(self) -> int:
        """Replace workers until told to stop, and return the exit code."""
        on_stop(self._on_signal)
        restarts: dict[str, int] = {}
        short_lives = 0
        while True:
            started_s = self._clock.now_s()
            returncode, why = self._run_worker(restarts)
            lived_s = self._clock.now_s() - started_s
            if self._signals:
                return exit_code(returncode, self._signals)
            if not self._was_ready and returncode > 0:
                return returncode
            name = (why or Why.ENDED).name.lower()
            restarts[name] = restarts.get(name, 0) + 1
            short_lives = short_lives + 1 if lived_s < SHORT_LIFE_S else 0
            wait_s = pause_s(short_lives)
            log.error(
                "the worker is replaced",
                why=str(why or Why.ENDED),
                returncode=returncode,
                lived_s=round(lived_s, 1),
                pause_s=wait_s,
                restarts=sum(restarts.values()),
            )
            self._pause(wait_s)
            if self._signals:
                return exit_code(0, self._signals)

    def _run_worker(self, restarts: Mapping[str, int]) -> tuple[int, Why | None]:
        """Start one worker and stay with it to its end; return its return code and why it was killed."""
        heartbeat, theirs = os.pipe()
        inherited = Inherited(self._listener.fileno(), theirs, restarts)
        # One that is passed on before the worker can listen waits: Python's own answer is a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            # In a process group of its own: Ctrl-C reaches the parent alone, which passes it on once.
            worker = subprocess.Popen(  # noqa: S603 - the command that started this very process
                [*self._command, "--inherited", str(inherited)],
                pass_fds=(self._listener.fileno(), theirs),
                process_group=0,
            )
            self._worker = worker
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        os.close(theirs)
        self._pass_on()  # a signal may have come before there was anybody to pass it on to
        try:
            why = self._watch(heartbeat)
            if why is not None:
                worker.kill()
            return worker.wait(), why
        finally:
            self._worker = None
            os.close(heartbeat)

    def _watch(self, heartbeat: int) -> Why | None:
        """Return None when the worker has ended, or why it has to be killed."""
        last_s = self._clock.now_s()
        is_warm = is_stuck = False
        while True:
            readable, _, _ = select.select([heartbeat], [], [], 0.1)
            if readable:
                said = os.read(heartbeat, 4096)
                if not said:
                    return self._wait_for_end()
                is_warm, is_stuck = is_warm or READY in said, said.endswith(STUCK)
                last_s = self._clock.now_s()
                self._was_ready = self._was_ready or is_warm
            if self._signals:
                self._listener.close()  # the worker has it open; nobody else will serve it
            signs = Signs(last_s, is_warm, is_stuck, self._stop_by_s)
            why = why_kill(signs, self._clock.now_s(), hang_timeout_s=self._lifecycle.hang_timeout_s)
            if why is not None:
                return why

    def _wait_for_end(self) -> Why | None:
        assert self._worker is not None  # noqa: S101 - it is being watched
        try:
            self._worker.wait(AT_ONCE_S)
        except subprocess.TimeoutExpired:
            return Why.UNHEARD
        return None

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals = (*self._signals, number)
        drain_s = self._lifecycle.drain_delay_s + self._lifecycle.drain_timeout_s + LATEST_S
        self._stop_by_s = self._clock.now_s() + (drain_s if len(self._signals) == 1 else AT_ONCE_S)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._worker is not None and self._passed_on < len(self._signals):
            self._passed_on += 1
            self._worker.send_signal(self._signals[self._passed_on - 1])

    def _pause(self, seconds: float) -> None:
        until_s = self._clock.now_s() + seconds
        while self._clock.now_s() < until_s and not self._signals:
            time.sleep(0.05)


def own_command() -> list[str]:
    """Return the command line that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]

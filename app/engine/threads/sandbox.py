"""Sandbox: child processes for work that may crash or never end, and that the pool can kill.

A sandbox replies to one message at a time (``sandbox_messages.py``). Its environment holds only paths, its
socket is its only descriptor, and it exits when its parent does.

Rule 1: one thread, the keeper, starts all sandboxes: all of them first, then a new one for each that died. A
call takes the first free sandbox, and waits for a start only if the pool has no sandbox at all.
Rule 2: a death is the request's fault only if the sandbox crashed, exited or sent a malformed reply. If
another process killed it, or the kernel did for lack of memory, that says nothing about the request. Nor
does a timeout, if the sandbox got hardly any processor time: it was stopped, as in a frozen container.
Rule 3: a sandbox is free again only after a complete reply; after anything else it is discarded.
"""

import math
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.engine.clock import Clock
from app.engine.threads.sandbox_messages import Buffer, Fields, Message, receive_message, send_message

START_TIMEOUT_S = 60.0
POLL_FREE_S = 0.25
"""How often the keeper polls free sandboxes for deaths; it is notified of deaths during a call."""
POLL_STARTING_S = 0.02
"""How often it polls a starting sandbox; a start takes about half a second."""
MAX_FAILURES = 3
"""Consecutive failed starts after which calls fail while the pool has no sandbox."""
MAX_PAUSE_S = 5.0
EXIT_TIMEOUT_S = 1.0
"""Time for a sandbox that closed its socket to exit, so that its exit status shows the reason."""
MIN_PROCESSOR_SHARE = 0.1
"""A sandbox that ran for less of its time limit than this did not exceed it by its own work."""
_INHERITED_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT")
_CRASHES = ("SEGV", "BUS", "ABRT", "FPE", "ILL", "TRAP", "SYS", "XCPU", "XFSZ")
_CRASH_SIGNALS = frozenset(getattr(signal, f"SIG{name}", None) for name in _CRASHES)


class SandboxDied(Exception):
    """A sandbox crashed, exited or sent a malformed message instead of a complete reply."""


class SandboxLost(SandboxDied):
    """Not the request's fault: a sandbox did not start, its socket failed, or it was killed or stopped."""


class SandboxTooSlow(Exception):
    """A sandbox exceeded its time limit, and was killed."""


@dataclass(eq=False, slots=True)
class _Sandbox:
    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    started_s: float

    def has_exited(self) -> bool:
        return self.process.poll() is not None

    def cpu_s(self) -> float:
        """Return the processor time of the process so far; not a number where there is no ``/proc``."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return math.nan  # compares as False: then the time limit alone decides
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def is_ready(self) -> bool:
        """Return whether its first message has arrived.

        Raises:
            SandboxLost: It exited first, or its message is incomplete or malformed.
        """
        try:
            self.channel.settimeout(0)
            self.channel.recv(1, socket.MSG_PEEK)
            self.channel.settimeout(EXIT_TIMEOUT_S)
            receive_message(self.channel, max_bytes=0)
        except BlockingIOError:
            return False
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise SandboxLost("a sandbox did not start") from error
        return True


@dataclass(eq=False)
class SandboxPool:
    """A fixed number of sandboxes, each replaced when it dies.

    Attributes:
        command: Starts a sandbox; its standard input is the socket, and its first message reports it ready.
        count: The number of sandboxes, and of calls that run at the same time.
        timeout_s: The time limit of one call.
        clock: The source of time.
        deaths: The number of sandboxes that became ready and have died or been killed since.
    """

    command: Sequence[str]
    count: int
    timeout_s: float
    clock: Clock
    deaths: int = 0
    _ready: set[_Sandbox] = field(default_factory=set)
    _free: deque[_Sandbox] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _failures: int = 0
    _is_closed: bool = False
    _keeper: threading.Thread | None = None

    def start(self) -> None:
        """Start all sandboxes, and wait until they are ready.

        Raises:
            SandboxLost: One of them did not become ready.
        """
        self._keeper = threading.Thread(target=self._keep, name="sandboxes", daemon=True)
        self._keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) == self.count or self._failures)
            if not self._failures:
                return
        self.close()
        raise SandboxLost("a sandbox did not start")

    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the sandboxes that are ready."""
        with self._changed:
            return tuple(sandbox.process.pid for sandbox in self._ready)

    def close(self) -> None:
        """Kill all sandboxes; calls in progress fail."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._keeper is not None:
            self._keeper.join()
        with self._changed:
            for sandbox in self._free:
                self._discard(sandbox)
            for sandbox in self._ready:  # in use: its call discards it
                sandbox.process.kill()
            self._free.clear()

    def call(self, fields: Fields, *buffers: Buffer, max_bytes: int) -> Message:
        """Send a message to a free sandbox and return its reply; blocks until one is free.

        Raises:
            SandboxDied: It crashed, exited or sent a malformed reply.
            SandboxLost: It died through no fault of the request, or no sandbox can be started.
            SandboxTooSlow: It worked for longer than ``timeout_s``.
        """
        sandbox = self._take()
        has_replied, cpu_before_s = False, sandbox.cpu_s()
        try:
            until_s = self.clock.now_s() + self.timeout_s
            sandbox.channel.settimeout(self.timeout_s)
            send_message(sandbox.channel, fields, *buffers)
            reply = receive_message(
                sandbox.channel, max_bytes=max_bytes, left_s=lambda: until_s - self.clock.now_s()
            )
            has_replied = True
        except TimeoutError as error:
            if sandbox.cpu_s() - cpu_before_s < MIN_PROCESSOR_SHARE * self.timeout_s:
                raise SandboxLost("it was stopped") from error
            raise SandboxTooSlow from error
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise _cause_of_death(sandbox, error) from error
        finally:
            self._give_back(sandbox, has_replied=has_replied)
        return reply

    def _take(self) -> _Sandbox:
        with self._changed:
            while not self._is_closed:
                while self._free:
                    sandbox = self._free.popleft()
                    if not sandbox.has_exited():
                        return sandbox
                    self._discard(sandbox)
                if not self._ready and self._failures >= MAX_FAILURES:
                    raise SandboxLost("no sandbox can be started")
                self._changed.wait()
        raise SandboxLost("the pool of sandboxes is closed")

    def _give_back(self, sandbox: _Sandbox, *, has_replied: bool) -> None:
        with self._changed:
            if has_replied and not self._is_closed:
                self._free.append(sandbox)
            else:
                self._discard(sandbox)
            self._changed.notify_all()

    def _discard(self, sandbox: _Sandbox) -> None:
        self.deaths += 1
        self._ready.discard(sandbox)
        sandbox.kill()

    def _keep(self) -> None:
        """Replace dead sandboxes until the pool is closed; runs on the keeper's thread."""
        starting: list[_Sandbox] = []
        retry_at_s = 0.0
        with self._changed:
            while not self._is_closed:
                for sandbox in tuple(self._free):
                    if sandbox.has_exited():
                        self._free.remove(sandbox)
                        self._discard(sandbox)
                failures_before = self._failures
                starting = self._still_starting(starting)
                missing = self.count - len(self._ready) - len(starting)
                if self.clock.now_s() >= retry_at_s:
                    starting += self._spawned(missing)
                if self._failures > failures_before:
                    pause_s = min(MAX_PAUSE_S, 0.05 * 2.0 ** min(self._failures, 16))
                    retry_at_s = self.clock.now_s() + pause_s
                self._changed.notify_all()
                self._changed.wait(POLL_STARTING_S if starting else POLL_FREE_S)
        for sandbox in starting:
            sandbox.kill()

    def _still_starting(self, starting: list[_Sandbox]) -> list[_Sandbox]:
        """Add ready sandboxes to the pool, kill those that failed to start, and return the others."""
        pending = []
        for sandbox in starting:
            try:
                is_ready = sandbox.is_ready()
                if not is_ready and self.clock.now_s() - sandbox.started_s > START_TIMEOUT_S:
                    raise SandboxLost("a sandbox does not start")
            except SandboxLost:
                sandbox.kill()
                self._failures += 1
                continue
            if not is_ready:
                pending.append(sandbox)
                continue
            self._failures = 0
            self._ready.add(sandbox)
            self._free.append(sandbox)
        return pending

    def _spawned(self, count: int) -> list[_Sandbox]:
        """Start ``count`` processes, or fewer if one fails; the keeper retries the rest later."""
        sandboxes: list[_Sandbox] = []
        try:
            while len(sandboxes) < count:
                sandboxes.append(_spawn(self.command, self.clock))
        except (OSError, MemoryError, subprocess.SubprocessError):
            self._failures += 1
        return sandboxes


def _spawn(command: Sequence[str], clock: Clock) -> _Sandbox:
    parent_end, child_end = socket.socketpair()
    environment = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    try:
        process = subprocess.Popen(  # noqa: S603 - this Python interpreter, with fixed arguments
            command,
            stdin=child_end.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # a Ctrl-C reaches the server only, which then kills its sandboxes
        )
    except BaseException:
        parent_end.close()
        raise
    finally:
        child_end.close()
    return _Sandbox(process, parent_end, clock.now_s())


def _cause_of_death(sandbox: _Sandbox, error: Exception) -> SandboxDied:
    """Return ``SandboxLost`` if a sandbox without a reply died from outside, else ``SandboxDied``."""
    is_disconnected = isinstance(error, (EOFError, ConnectionError))
    try:
        status = sandbox.process.wait(EXIT_TIMEOUT_S if is_disconnected else 0)
    except subprocess.TimeoutExpired:
        is_socket_failure = isinstance(error, OSError) and not is_disconnected
        return SandboxLost("its socket failed") if is_socket_failure else SandboxDied("malformed reply")
    if status < 0 and -status not in _CRASH_SIGNALS:
        return SandboxLost(f"killed by signal {-status}")
    return SandboxDied(f"exited with status {status}")

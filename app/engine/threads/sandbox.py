"""Cells: child processes that do what may crash or never end, and can be killed for it.

A cell answers one message at a time (``messages.py``). It has no environment but paths, no descriptors but
its socket, and ends when its parent does.

Rule 1: all cells are started by one thread, the keeper, at first and as soon as one has died. A call waits
for whichever cell is free, and for a start only where there is no cell at all.
Rule 2: a cell that dies is to blame itself only if it crashed, ended or talked nonsense. One that somebody
killed, or the system for lack of memory, says nothing of what it was asked.
Rule 3: a cell is free again only after a whole answer; whatever else happens is the end of it.
"""

import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.engine.clock import Clock
from app.engine.threads.sandbox_messages import Buffer, Message, ResultInfo, receive_message, send_message

START_S = 60.0
LOOK_EVERY_S = 0.25
"""How often the keeper looks for cells that died while they were free; the others it is told of."""
STARTING_S = 0.02
"""How often it looks at one that starts, which takes about half a second."""
MAX_FAILURES = 3
"""Starts that may fail in a row before a call is told so, if there is no cell left."""
LONGEST_PAUSE_S = 5.0
END_S = 1.0
"""Time that a cell which closed its socket has to end, so that its exit status says why."""
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT")
_CRASHES = ("SEGV", "BUS", "ABRT", "FPE", "ILL", "TRAP", "SYS", "XCPU", "XFSZ")
_OWN_SIGNALS = frozenset(getattr(signal, f"SIG{name}", None) for name in _CRASHES)


class SandboxDied(Exception):
    """A cell crashed, ended, or said what makes no sense, before it had answered."""


class SandboxLost(SandboxDied):
    """A cell could not start, was killed by somebody else, or could not be reached; it is not to blame."""


class SandboxTooSlow(Exception):
    """A cell did not answer in time, and was killed."""


@dataclass(eq=False, slots=True)
class _Sandbox:
    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    begun_s: float

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def is_ready(self) -> bool:
        """Tell whether its first message is there.

        Raises:
            SandboxLost: It ended before, or takes too long.
        """
        try:
            self.channel.settimeout(0)
            self.channel.recv(1, socket.MSG_PEEK)
            self.channel.settimeout(END_S)
            receive_message(self.channel, max_bytes=0)
        except BlockingIOError:
            return False
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise SandboxLost("a cell did not start") from error
        return True


@dataclass(eq=False)
class SandboxPool:
    """A number of cells, each replaced when it dies.

    Attributes:
        command: What starts one; its standard input is the socket, and its first message says it is ready.
        count: How many there are, and how many calls may be under way.
        timeout_s: Time for one answer.
        clock: The source of time.
        deaths: How many ended since the start that were ready once.
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
        """Start every cell and wait until it is ready.

        Raises:
            SandboxLost: One did not become ready.
        """
        self._keeper = threading.Thread(target=self._keep, name="cells", daemon=True)
        self._keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) == self.count or self._failures)
            if not self._failures:
                return
        self.close()
        raise SandboxLost("a cell did not start")

    def close(self) -> None:
        """End every cell; calls that are under way fail."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._keeper is not None:
            self._keeper.join()
        with self._changed:
            for sandbox in self._free:
                self._discard(sandbox)
            for sandbox in self._ready:  # a call has it, and buries it
                sandbox.process.kill()
            self._free.clear()

    def call(self, facts: ResultInfo, *buffers: Buffer, max_bytes: int) -> Message:
        """Let a cell answer; blocks until one is free.

        Raises:
            SandboxDied: It ended first.
            SandboxLost: And is not to blame for it; or there is none.
            SandboxTooSlow: It took longer than ``timeout_s``.
        """
        sandbox = self._take()
        is_well = False
        try:
            until_s = self.clock.now_s() + self.timeout_s
            sandbox.channel.settimeout(self.timeout_s)
            send_message(sandbox.channel, facts, *buffers)
            response = receive_message(
                sandbox.channel, max_bytes=max_bytes, left_s=lambda: until_s - self.clock.now_s()
            )
            is_well = True
        except TimeoutError as error:
            raise SandboxTooSlow from error
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise _blamed(sandbox, error) from error
        finally:
            self._give_back(sandbox, is_well=is_well)
        return response

    def _take(self) -> _Sandbox:
        with self._changed:
            while not self._is_closed:
                while self._free:
                    sandbox = self._free.popleft()
                    if not sandbox.has_ended():
                        return sandbox
                    self._discard(sandbox)
                if not self._ready and self._failures >= MAX_FAILURES:
                    raise SandboxLost("no cell can be started")
                self._changed.wait()
        raise SandboxLost("the cells are closed")

    def _give_back(self, sandbox: _Sandbox, *, is_well: bool) -> None:
        with self._changed:
            if is_well and not self._is_closed:
                self._free.append(sandbox)
            else:
                self._discard(sandbox)
            self._changed.notify_all()

    def _discard(self, sandbox: _Sandbox) -> None:
        self.deaths += 1
        self._ready.discard(sandbox)
        sandbox.kill()

    def _keep(self) -> None:
        """Start what is missing, until closed; runs on the keeper's thread."""
        starting: list[_Sandbox] = []
        again_at_s = 0.0
        with self._changed:
            while not self._is_closed:
                for sandbox in tuple(self._free):
                    if sandbox.has_ended():
                        self._free.remove(sandbox)
                        self._discard(sandbox)
                before = self._failures
                starting = self._still_starting(starting)
                missing = self.count - len(self._ready) - len(starting)
                if self.clock.now_s() >= again_at_s:
                    starting += self._spawned(missing)
                if self._failures > before:
                    pause_s = min(LONGEST_PAUSE_S, 0.05 * 2.0 ** min(self._failures, 16))
                    again_at_s = self.clock.now_s() + pause_s
                self._changed.notify_all()
                self._changed.wait(STARTING_S if starting else LOOK_EVERY_S)
        for sandbox in starting:
            sandbox.kill()

    def _still_starting(self, starting: list[_Sandbox]) -> list[_Sandbox]:
        """Take over those that are ready, give up those that will not be, and return the others."""
        left = []
        for sandbox in starting:
            try:
                is_ready = sandbox.is_ready()
                if not is_ready and self.clock.now_s() - sandbox.begun_s > START_S:
                    raise SandboxLost("a cell does not start")
            except SandboxLost:
                sandbox.kill()
                self._failures += 1
                continue
            if not is_ready:
                left.append(sandbox)
                continue
            self._failures = 0
            self._ready.add(sandbox)
            self._free.append(sandbox)
        return left

    def _spawned(self, count: int) -> list[_Sandbox]:
        """Start as many processes as there may be; what fails is tried again later."""
        sandboxes: list[_Sandbox] = []
        try:
            while len(sandboxes) < count:
                sandboxes.append(_spawn(self.command, self.clock))
        except (OSError, MemoryError, subprocess.SubprocessError):
            self._failures += 1
        return sandboxes


def _spawn(command: Sequence[str], clock: Clock) -> _Sandbox:
    ours, theirs = socket.socketpair()
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        process = subprocess.Popen(  # noqa: S603 - this very Python, with words of ours
            command,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # a Ctrl-C is for the server, which then ends its cells
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Sandbox(process, ours, clock.now_s())


def _blamed(sandbox: _Sandbox, error: Exception) -> SandboxDied:
    """Return whether a cell that did not answer is to blame."""
    is_cut_off = isinstance(error, (EOFError, ConnectionError))
    try:
        status = sandbox.process.wait(END_S if is_cut_off else 0)
    except subprocess.TimeoutExpired:
        is_ours = isinstance(error, OSError) and not is_cut_off
        return SandboxLost("its socket failed") if is_ours else SandboxDied("it talks nonsense")
    if status < 0 and -status not in _OWN_SIGNALS:
        return SandboxLost(f"it was ended by signal {-status}")
    return SandboxDied(f"it ended with {status}")

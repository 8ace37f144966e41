"""Cells: child processes that do what may crash or never end, and can be killed for it.

A cell answers one message at a time over a socket. A message is JSON with plain facts, and the buffers whose
lengths it names: nothing a cell could say is run, and it can say no more than it is asked for. A cell has no
environment but paths, no descriptors but its socket, and ends when its parent does.
"""

import json
import os
import queue
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.engine.clock import Clock

START_S = 60.0
_MAX_HEAD_BYTES = 64 * 1024
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT")

Facts = Mapping[str, object]
Buffer = bytes | memoryview
Message = tuple[dict[str, object], list[bytearray]]


class CellDied(Exception):
    """A cell ended, or said what makes no sense, before it had answered."""


class CellTooSlow(Exception):
    """A cell did not answer in time, and was killed."""


def send_message(channel: socket.socket, facts: Facts, *buffers: Buffer) -> None:
    """Send facts and the buffers that belong to them."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    head = json.dumps({"facts": facts, "lengths": [len(view) for view in views]}).encode()
    channel.sendall(len(head).to_bytes(4, "big") + head)
    for view in views:
        channel.sendall(view)


def receive_message(
    channel: socket.socket, *, most_bytes: int, left_s: Callable[[], float] | None = None
) -> Message:
    """Receive facts and their buffers.

    Args:
        channel: Where from.
        most_bytes: What the buffers may have together.
        left_s: Says how long the message may still take; without it, for ever.

    Raises:
        EOFError: The other end is closed.
        ValueError: What came is no message, or is too long.
        TimeoutError: It did not come in time.
    """
    length = int.from_bytes(_receive(channel, 4, left_s), "big")
    if length > _MAX_HEAD_BYTES:
        raise ValueError("the head of a message is too long")
    head = json.loads(_receive(channel, length, left_s))
    facts, lengths = head["facts"], head["lengths"]
    if not isinstance(facts, dict) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise ValueError("the head of a message is not one")
    if sum(lengths) > most_bytes:
        raise ValueError("a message is longer than it may be")
    return facts, [_receive(channel, n, left_s) for n in lengths]


def _receive(channel: socket.socket, length: int, left_s: Callable[[], float] | None) -> bytearray:
    received = bytearray(length)
    view = memoryview(received)
    while view:
        if left_s is not None:
            channel.settimeout(max(0.001, left_s()))
        count = channel.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return received


@dataclass(eq=False, slots=True)
class _Cell:
    process: "subprocess.Popen[bytes]"
    channel: socket.socket

    def kill(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


@dataclass(eq=False)
class Cells:
    """A number of cells, each replaced when it dies.

    Attributes:
        command: What starts one; its standard input is the socket, and its first message says it is ready.
        count: How many there are, and how many calls may be under way.
        timeout_s: Time for one answer.
        clock: The source of time.
    """

    command: Sequence[str]
    count: int
    timeout_s: float
    clock: Clock
    deaths: int = 0
    _idle: "queue.SimpleQueue[_Cell | None]" = field(default_factory=queue.SimpleQueue)

    def start(self) -> None:
        """Start every cell and wait until it is ready.

        Raises:
            CellDied: One did not become ready.
        """
        cells = [self._spawn() for _ in range(self.count)]
        for cell in cells:
            self._await_ready(cell)
            self._idle.put(cell)

    def call(self, facts: Facts, *buffers: Buffer, most_bytes: int) -> Message:
        """Let a cell answer; blocks until one is free.

        Raises:
            CellDied: It ended first.
            CellTooSlow: It took longer than ``timeout_s``.
        """
        cell = self._idle.get()
        try:
            if cell is not None and cell.process.poll() is not None:
                self._bury(cell)  # it died of something else meanwhile
                cell = None
            if cell is None:
                cell = self._spawn()
                self._await_ready(cell)
            until_s = self.clock.now_s() + self.timeout_s
            cell.channel.settimeout(self.timeout_s)
            send_message(cell.channel, facts, *buffers)
            answer = receive_message(
                cell.channel, most_bytes=most_bytes, left_s=lambda: until_s - self.clock.now_s()
            )
        except TimeoutError as error:
            self._bury(cell)
            cell = None
            raise CellTooSlow from error
        except (EOFError, OSError, ValueError, LookupError, TypeError) as error:
            self._bury(cell)
            cell = None
            raise CellDied from error
        finally:
            self._idle.put(cell)
        return answer

    def _bury(self, cell: _Cell | None) -> None:
        self.deaths += 1
        if cell is not None:
            cell.kill()

    def _spawn(self) -> _Cell:
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - this very Python, with words of ours
                self.command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl-C is for the server, which then ends its cells
            )
        return _Cell(process, ours)

    def _await_ready(self, cell: _Cell) -> None:
        cell.channel.settimeout(START_S)
        try:
            receive_message(cell.channel, most_bytes=0)
        except (EOFError, OSError, ValueError, LookupError, TypeError) as error:
            cell.kill()
            raise CellDied from error

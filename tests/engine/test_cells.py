"""Cells with programs made for it: one that does as it is told, well or badly."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.cells import CellDied, Cells, CellTooSlow
from app.engine.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
OBEDIENT = """
import os, socket, sys, time
from app.engine.cells import receive_message, send_message
channel = socket.socket(fileno=os.dup(0))
send_message(channel, {"ready": True})
while True:
    facts, buffers = receive_message(channel, most_bytes=10**9)
    match facts["do"]:
        case "echo":
            told = {"pid": os.getpid(), "names": sorted(os.environ)}
            send_message(channel, told, *map(bytes, buffers))
        case "die": os._exit(1)
        case "hang": time.sleep(600)
        case "flood": send_message(channel, {}, bytes(1000))
        case "babble": channel.sendall(b"\\0\\0\\0\\5hello")
        case "boast": channel.sendall(b"\\xff\\xff\\xff\\xff")
        case "drip":
            channel.sendall(b"\\0\\0\\x10\\0")
            while True: channel.sendall(b"\\0"); time.sleep(0.1)
"""
COMMAND = (sys.executable, "-c", OBEDIENT)
TIMEOUT_S = 20.0


def started(count: int = 1, *, timeout_s: float = TIMEOUT_S, command: tuple[str, ...] = COMMAND) -> Cells:
    cells = Cells(command, count, timeout_s, SystemClock())
    cells.start()
    return cells


def pid_of(cells: Cells) -> int:
    facts, _ = cells.call({"do": "echo"}, most_bytes=0)
    assert isinstance(facts["pid"], int)
    return facts["pid"]


def test_buffers_of_any_size_come_back_as_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOUT_ACCESS__KEY_HASHES", "secret")
    cells = started()
    sent = [b"", b"x", os.urandom(3_000_000)]
    facts, received = cells.call({"do": "echo"}, *sent, most_bytes=3_000_001)

    assert sent == [bytes(buffer) for buffer in received]
    assert not [name for name in facts["names"] if "CUTOUT" in name]  # type: ignore[attr-defined] # a list


@pytest.mark.parametrize("fault", ["die", "flood", "babble", "boast"])
def test_a_cell_that_dies_or_talks_nonsense_is_replaced(fault: str) -> None:
    cells = started()
    before = pid_of(cells)
    with pytest.raises(CellDied):
        cells.call({"do": fault}, most_bytes=999)

    assert pid_of(cells) != before
    assert cells.deaths == 1
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_cell_that_does_not_end_is_killed_in_time(fault: str) -> None:
    cells = started(timeout_s=1.0)
    before = pid_of(cells)
    begun_s = time.monotonic()
    with pytest.raises(CellTooSlow):
        cells.call({"do": fault}, most_bytes=10**9)

    assert time.monotonic() - begun_s < TIMEOUT_S
    assert not Path(f"/proc/{before}").exists()
    cells.timeout_s = TIMEOUT_S
    assert pid_of(cells) != before


def test_a_cell_that_is_killed_from_outside_hurts_its_own_call_alone() -> None:
    cells = started(2)
    pids = set()
    while len(pids) < 2:
        pids.add(pid_of(cells))
    os.kill(min(pids), signal.SIGKILL)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(pid_of(cells))
        except CellDied:
            outcomes.append(0)

    assert outcomes.count(0) <= 1  # none, where its death was seen before the call
    assert min(pids) not in outcomes


def test_as_many_calls_run_as_there_are_cells() -> None:
    cells = started(2)
    with ThreadPoolExecutor(8) as crowd:
        pids = list(crowd.map(lambda _: pid_of(cells), range(64)))

    assert len(set(pids)) == 2


def test_a_program_that_does_not_start_is_told_at_once() -> None:
    with pytest.raises(CellDied):
        started(command=(sys.executable, "-c", "raise SystemExit(1)"))

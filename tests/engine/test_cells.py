"""Cells with programs made for it: one that does as it is told, well or badly."""

import os
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.cells import CellDied, CellLost, Cells, CellTooSlow
from app.engine.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
OBEDIENT = """
import os, socket, sys, time
from app.engine.messages import receive_message, send_message
channel = socket.socket(fileno=os.dup(0))
send_message(channel, {"ready": True})
while True:
    facts, buffers = receive_message(channel, most_bytes=10**9)
    match facts["do"]:
        case "echo":
            told = {"pid": os.getpid(), "names": sorted(os.environ)}
            send_message(channel, told, *map(bytes, buffers))
        case "die": os._exit(facts.get("status", 1))
        case "signal": os.kill(os.getpid(), facts["number"])
        case "hang up": channel.close(); os.close(0); time.sleep(600)
        case "nest": channel.sendall((60_000).to_bytes(4, "big") + b"[" * 60_000)
        case "promise":
            told = b'{"facts": {}, "lengths": [100000000000000]}'
            channel.sendall(len(told).to_bytes(4, "big") + told)
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
CRASHES = ("SEGV", "BUS", "ABRT", "FPE", "ILL", "TRAP", "SYS", "XCPU")
ENDS = ("KILL", "TERM", "HUP", "INT", "QUIT", "ALRM", "USR1")


def started(count: int = 1, *, timeout_s: float = TIMEOUT_S, command: tuple[str, ...] = COMMAND) -> Cells:
    cells = Cells(command, count, timeout_s, SystemClock())
    cells.start()
    return cells


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    """Return the processes that this one has started and not waited for, dead ones among them."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for file in tasks for pid in file.read_text().split()}


def pid_of(cells: Cells) -> int:
    facts, _ = cells.call({"do": "echo"}, most_bytes=0)
    assert isinstance(facts["pid"], int)
    return facts["pid"]


def pid_of_soon(cells: Cells) -> int:
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return pid_of(cells)
        except CellLost:
            assert time.monotonic() < until_s
            time.sleep(0.05)


def test_buffers_of_any_size_come_back_as_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOUT_ACCESS__KEY_HASHES", "secret")
    cells = started()
    sent = [b"", b"x", os.urandom(3_000_000)]
    facts, received = cells.call({"do": "echo"}, *sent, most_bytes=3_000_001)

    assert sent == [bytes(buffer) for buffer in received]
    assert not [name for name in facts["names"] if "CUTOUT" in name]  # type: ignore[attr-defined] # a list


@pytest.mark.parametrize("fault", ["die", "flood", "babble", "boast", "nest", "hang up"])
def test_a_cell_that_dies_or_talks_nonsense_is_replaced(fault: str) -> None:
    cells = started()
    before = pid_of(cells)
    with pytest.raises(CellDied) as raised:
        cells.call({"do": fault}, most_bytes=999)

    assert not isinstance(raised.value, CellLost)
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
    with pytest.raises(CellLost):
        started(command=(sys.executable, "-c", "raise SystemExit(1)"))


@pytest.mark.parametrize(
    ("fault", "is_lost"),
    [
        *(({"do": "signal", "number": getattr(signal, f"SIG{name}")}, False) for name in CRASHES),
        *(({"do": "signal", "number": getattr(signal, f"SIG{name}")}, True) for name in ENDS),
        *(({"do": "die", "status": status}, False) for status in (0, 1, 255)),
    ],
    ids=str,
)
def test_a_cell_is_to_blame_for_a_crash_and_not_for_who_kills_it(
    fault: dict[str, object], *, is_lost: bool
) -> None:
    cells = started()
    with pytest.raises(CellDied) as raised:
        cells.call(fault, most_bytes=999)

    assert isinstance(raised.value, CellLost) == is_lost
    assert pid_of(cells)
    cells.close()


def test_a_cell_whose_answer_finds_no_memory_is_not_asked_again() -> None:
    """The rest of that answer would be taken for the next one."""
    cells = started()
    before = pid_of(cells)
    with pytest.raises(MemoryError):
        cells.call({"do": "promise"}, most_bytes=10**18)

    assert pid_of(cells) != before
    cells.close()


def test_a_cell_that_dies_while_it_is_free_is_replaced_before_anybody_asks() -> None:
    cells = started(2)
    before = children()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until_s = time.monotonic() + TIMEOUT_S
    while len(children() - before) < 2 or cells.deaths < 2:
        assert time.monotonic() < until_s
        time.sleep(0.01)

    assert pid_of(cells) in children() - before
    cells.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_fault_leaves_a_descriptor_or_a_process_behind() -> None:
    before = descriptors(), children()
    cells = started(2, timeout_s=0.5)
    for fault in ("die", "flood", "babble", "boast", "nest", "hang up", "promise", "hang") * 2:
        with pytest.raises((CellDied, CellTooSlow, MemoryError)):
            cells.call({"do": fault}, most_bytes=10**18 if fault == "promise" else 999)
    cells.timeout_s = TIMEOUT_S
    for pid in children() - before[1]:
        os.kill(pid, signal.SIGKILL)
    assert pid_of_soon(cells)
    cells.close()

    assert (descriptors(), children()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_without_descriptors_there_is_no_cell_for_the_moment() -> None:
    cells = started(2)
    mine = {pid_of(cells) for _ in range(8)}
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        for pid in mine:
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(CellLost):
                cells.call({"do": "echo"}, most_bytes=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert pid_of_soon(cells) not in mine
    until_s = time.monotonic() + TIMEOUT_S
    while descriptors() != before:  # the other one starts as well
        assert time.monotonic() < until_s
        time.sleep(0.01)
    cells.close()


def test_cells_that_are_closed_are_gone_and_answer_nobody() -> None:
    before = children()
    cells = started(2)
    with ThreadPoolExecutor(1) as caller:
        hanging = caller.submit(cells.call, {"do": "hang"}, most_bytes=0)
        while not hanging.running():
            time.sleep(0.01)
        cells.close()
        with pytest.raises(CellLost):
            hanging.result(TIMEOUT_S)
    with pytest.raises(CellLost):
        pid_of(cells)

    assert children() == before

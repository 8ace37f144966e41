"""Cells with programs made for it: one that does as it is told, well or badly."""

import os
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.clock import SystemClock
from app.engine.threads.sandbox import SandboxDied, SandboxLost, SandboxPool, SandboxTooSlow

ROOT = Path(__file__).resolve().parents[3]
OBEDIENT = """
import os, socket, sys, time
from app.engine.threads.sandbox_messages import receive_message, send_message
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


def started(
    count: int = 1, *, timeout_s: float = TIMEOUT_S, command: tuple[str, ...] = COMMAND
) -> SandboxPool:
    sandboxes = SandboxPool(command, count, timeout_s, SystemClock())
    sandboxes.start()
    return sandboxes


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    """Return the processes that this one has started and not waited for, dead ones among them."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for file in tasks for pid in file.read_text().split()}


def pid_of(sandboxes: SandboxPool) -> int:
    facts, _ = sandboxes.call({"do": "echo"}, max_bytes=0)
    assert isinstance(facts["pid"], int)
    return facts["pid"]


def pid_of_soon(sandboxes: SandboxPool) -> int:
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return pid_of(sandboxes)
        except SandboxLost:
            assert time.monotonic() < until_s
            time.sleep(0.05)


def test_buffers_of_any_size_come_back_as_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOUT_ACCESS__KEY_HASHES", "secret")
    sandboxes = started()
    sent = [b"", b"x", os.urandom(3_000_000)]
    facts, received = sandboxes.call({"do": "echo"}, *sent, max_bytes=3_000_001)

    assert sent == [bytes(buffer) for buffer in received]
    assert not [name for name in facts["names"] if "CUTOUT" in name]  # type: ignore[attr-defined] # a list


@pytest.mark.parametrize("fault", ["die", "flood", "babble", "boast", "nest", "hang up"])
def test_a_cell_that_dies_or_talks_nonsense_is_replaced(fault: str) -> None:
    sandboxes = started()
    before = pid_of(sandboxes)
    with pytest.raises(SandboxDied) as raised:
        sandboxes.call({"do": fault}, max_bytes=999)

    assert not isinstance(raised.value, SandboxLost)
    assert pid_of(sandboxes) != before
    assert sandboxes.deaths == 1
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_cell_that_does_not_end_is_killed_in_time(fault: str) -> None:
    sandboxes = started(timeout_s=1.0)
    before = pid_of(sandboxes)
    begun_s = time.monotonic()
    with pytest.raises(SandboxTooSlow):
        sandboxes.call({"do": fault}, max_bytes=10**9)

    assert time.monotonic() - begun_s < TIMEOUT_S
    assert not Path(f"/proc/{before}").exists()
    sandboxes.timeout_s = TIMEOUT_S
    assert pid_of(sandboxes) != before


def test_a_cell_that_is_killed_from_outside_hurts_its_own_call_alone() -> None:
    sandboxes = started(2)
    pids = set()
    while len(pids) < 2:
        pids.add(pid_of(sandboxes))
    os.kill(min(pids), signal.SIGKILL)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(pid_of(sandboxes))
        except SandboxDied:
            outcomes.append(0)

    assert outcomes.count(0) <= 1  # none, where its death was seen before the call
    assert min(pids) not in outcomes


def test_as_many_calls_run_as_there_are_cells() -> None:
    sandboxes = started(2)
    with ThreadPoolExecutor(8) as crowd:
        pids = list(crowd.map(lambda _: pid_of(sandboxes), range(64)))

    assert len(set(pids)) == 2


def test_a_program_that_does_not_start_is_told_at_once() -> None:
    with pytest.raises(SandboxLost):
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
    sandboxes = started()
    with pytest.raises(SandboxDied) as raised:
        sandboxes.call(fault, max_bytes=999)

    assert isinstance(raised.value, SandboxLost) == is_lost
    assert pid_of(sandboxes)
    sandboxes.close()


def test_a_cell_whose_answer_finds_no_memory_is_not_asked_again() -> None:
    """The rest of that answer would be taken for the next one."""
    sandboxes = started()
    before = pid_of(sandboxes)
    with pytest.raises(MemoryError):
        sandboxes.call({"do": "promise"}, max_bytes=10**18)

    assert pid_of(sandboxes) != before
    sandboxes.close()


def test_a_cell_that_dies_while_it_is_free_is_replaced_before_anybody_asks() -> None:
    sandboxes = started(2)
    before = children()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until_s = time.monotonic() + TIMEOUT_S
    while len(children() - before) < 2 or sandboxes.deaths < 2:
        assert time.monotonic() < until_s
        time.sleep(0.01)

    assert pid_of(sandboxes) in children() - before
    sandboxes.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_fault_leaves_a_descriptor_or_a_process_behind() -> None:
    before = descriptors(), children()
    sandboxes = started(2, timeout_s=0.5)
    for fault in ("die", "flood", "babble", "boast", "nest", "hang up", "promise", "hang") * 2:
        with pytest.raises((SandboxDied, SandboxTooSlow, MemoryError)):
            sandboxes.call({"do": fault}, max_bytes=10**18 if fault == "promise" else 999)
    sandboxes.timeout_s = TIMEOUT_S
    for pid in children() - before[1]:
        os.kill(pid, signal.SIGKILL)
    assert pid_of_soon(sandboxes)
    sandboxes.close()

    assert (descriptors(), children()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_without_descriptors_there_is_no_cell_for_the_moment() -> None:
    sandboxes = started(2)
    mine = {pid_of(sandboxes) for _ in range(8)}
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        for pid in mine:
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(SandboxLost):
                sandboxes.call({"do": "echo"}, max_bytes=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert pid_of_soon(sandboxes) not in mine
    until_s = time.monotonic() + TIMEOUT_S
    while descriptors() != before:  # the other one starts as well
        assert time.monotonic() < until_s
        time.sleep(0.01)
    sandboxes.close()


def test_cells_that_are_closed_are_gone_and_answer_nobody() -> None:
    before = children()
    sandboxes = started(2)
    with ThreadPoolExecutor(1) as caller:
        hanging = caller.submit(sandboxes.call, {"do": "hang"}, max_bytes=0)
        while not hanging.running():
            time.sleep(0.01)
        sandboxes.close()
        with pytest.raises(SandboxLost):
            hanging.result(TIMEOUT_S)
    with pytest.raises(SandboxLost):
        pid_of(sandboxes)

    assert children() == before

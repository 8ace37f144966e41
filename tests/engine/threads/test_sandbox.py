"""Sandboxes that run a test program, which replies correctly or misbehaves on request."""

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

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, signal, socket, sys, time
from app.engine.threads.sandbox_messages import receive_message, send_message
channel = socket.socket(fileno=os.dup(0))
send_message(channel, {"ready": True})
while True:
    fields, buffers = receive_message(channel, max_bytes=10**9)
    match fields["do"]:
        case "echo":
            reply = {"pid": os.getpid(), "names": sorted(os.environ)}
            send_message(channel, reply, *map(bytes, buffers))
        case "exit": os._exit(fields.get("status", 1))
        case "signal":
            if fields["number"] in (1, 2, 3):  # programs in the background ignore HUP, INT, QUIT
                signal.signal(fields["number"], signal.SIG_DFL)
            os.kill(os.getpid(), fields["number"])
        case "close socket": channel.close(); os.close(0); time.sleep(600)
        case "nest": channel.sendall((60_000).to_bytes(4, "big") + b"[" * 60_000)
        case "declare huge buffer":
            header = b'{"fields": {}, "lengths": [100000000000000]}'
            channel.sendall(len(header).to_bytes(4, "big") + header)
        case "hang":
            while True: pass
        case "stop": os.kill(os.getpid(), signal.SIGSTOP)
        case "send too much": send_message(channel, {}, bytes(1000))
        case "send no json": channel.sendall(b"\\0\\0\\0\\5hello")
        case "declare huge header": channel.sendall(b"\\xff\\xff\\xff\\xff")
        case "drip":
            channel.sendall(b"\\0\\0\\x10\\0")
            while True:
                channel.sendall(b"\\0")
                for _ in range(10**6): pass
"""
COMMAND = (sys.executable, "-c", PROGRAM)
MALFORMED = ("send too much", "send no json", "declare huge header", "nest")
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
    """Return the child processes that were not waited for yet, zombies included."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for file in tasks for pid in file.read_text().split()}


def pid_of(sandboxes: SandboxPool) -> int:
    fields, _ = sandboxes.call({"do": "echo"}, max_bytes=0)
    assert isinstance(fields["pid"], int)
    return fields["pid"]


def pid_after_restart(sandboxes: SandboxPool) -> int:
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return pid_of(sandboxes)
        except SandboxLost:
            assert time.monotonic() < until_s
            time.sleep(0.05)


def test_buffers_of_any_size_are_echoed_without_the_servers_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUTOUT_ACCESS__KEY_HASHES", "secret")
    sandboxes = started()
    sent = [b"", b"x", os.urandom(3_000_000)]
    fields, received = sandboxes.call({"do": "echo"}, *sent, max_bytes=3_000_001)

    assert sent == [bytes(buffer) for buffer in received]
    assert not [name for name in fields["names"] if "CUTOUT" in name]  # type: ignore[attr-defined] # a list


@pytest.mark.parametrize("fault", ["exit", *MALFORMED, "close socket"])
def test_a_sandbox_that_exits_or_sends_a_malformed_reply_is_replaced(fault: str) -> None:
    sandboxes = started()
    before = pid_of(sandboxes)
    with pytest.raises(SandboxDied) as raised:
        sandboxes.call({"do": fault}, max_bytes=999)

    assert not isinstance(raised.value, SandboxLost)
    assert pid_of(sandboxes) != before
    assert sandboxes.deaths == 1
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_sandbox_over_its_time_limit_is_killed(fault: str) -> None:
    sandboxes = started(timeout_s=1.0)
    before = pid_of(sandboxes)
    started_s = time.monotonic()
    with pytest.raises(SandboxTooSlow):
        sandboxes.call({"do": fault}, max_bytes=10**9)

    assert time.monotonic() - started_s < TIMEOUT_S
    assert not Path(f"/proc/{before}").exists()
    sandboxes.timeout_s = TIMEOUT_S
    assert pid_of(sandboxes) != before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_sandbox_that_was_stopped_has_not_exceeded_its_time_limit() -> None:
    """As in a container that is frozen while it decodes."""
    sandboxes = started(timeout_s=1.0)
    with pytest.raises(SandboxLost, match="stopped"):
        sandboxes.call({"do": "stop"}, max_bytes=999)

    sandboxes.timeout_s = TIMEOUT_S
    assert pid_of(sandboxes)
    sandboxes.close()


def test_killing_a_sandbox_fails_at_most_its_own_call() -> None:
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

    assert outcomes.count(0) <= 1  # 0 if the keeper noticed the death before the call
    assert min(pids) not in outcomes


def test_calls_use_every_sandbox() -> None:
    sandboxes = started(2)
    with ThreadPoolExecutor(8) as callers:
        pids = list(callers.map(lambda _: pid_of(sandboxes), range(64)))

    assert len(set(pids)) == 2


def test_starting_a_program_that_exits_at_once_raises() -> None:
    with pytest.raises(SandboxLost):
        started(command=(sys.executable, "-c", "raise SystemExit(1)"))


@pytest.mark.parametrize(
    ("fault", "is_lost"),
    [
        *(({"do": "signal", "number": getattr(signal, f"SIG{name}")}, False) for name in CRASHES),
        *(({"do": "signal", "number": getattr(signal, f"SIG{name}")}, True) for name in ENDS),
        *(({"do": "exit", "status": status}, False) for status in (0, 1, 255)),
    ],
    ids=str,
)
def test_a_crash_is_the_requests_fault_and_a_kill_is_not(fault: dict[str, object], *, is_lost: bool) -> None:
    sandboxes = started()
    with pytest.raises(SandboxDied) as raised:
        sandboxes.call(fault, max_bytes=999)

    assert isinstance(raised.value, SandboxLost) == is_lost
    assert pid_of(sandboxes)
    sandboxes.close()


def test_a_sandbox_whose_reply_does_not_fit_into_memory_is_replaced() -> None:
    """The rest of that reply would be read as the next one."""
    sandboxes = started()
    before = pid_of(sandboxes)
    with pytest.raises(MemoryError):
        sandboxes.call({"do": "declare huge buffer"}, max_bytes=10**18)

    assert pid_of(sandboxes) != before
    sandboxes.close()


def test_a_free_sandbox_that_dies_is_replaced_before_the_next_call() -> None:
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
def test_no_fault_leaks_a_descriptor_or_a_process() -> None:
    before = descriptors(), children()
    sandboxes = started(2, timeout_s=0.5)
    for fault in ("exit", *MALFORMED, "close socket", "declare huge buffer", "hang") * 2:
        with pytest.raises((SandboxDied, SandboxTooSlow, MemoryError)):
            sandboxes.call({"do": fault}, max_bytes=10**18 if fault == "declare huge buffer" else 999)
    sandboxes.timeout_s = TIMEOUT_S
    for pid in children() - before[1]:
        os.kill(pid, signal.SIGKILL)
    assert pid_after_restart(sandboxes)
    sandboxes.close()

    assert (descriptors(), children()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_without_free_descriptors_calls_fail_until_there_are_some() -> None:
    sandboxes = started(2)
    pids = {pid_of(sandboxes) for _ in range(8)}
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(SandboxLost):
                sandboxes.call({"do": "echo"}, max_bytes=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert pid_after_restart(sandboxes) not in pids
    until_s = time.monotonic() + TIMEOUT_S
    while descriptors() != before:  # until the other sandbox has started, too
        assert time.monotonic() < until_s
        time.sleep(0.01)
    sandboxes.close()


def test_closing_the_pool_kills_its_sandboxes_and_fails_calls() -> None:
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

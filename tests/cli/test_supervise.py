import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.supervise import (
    Inherited,
    ProcessState,
    Supervisor,
    exit_code,
    kill_reason,
    restart_delay_s,
)
from app.engine.clock import SystemClock
from app.logs import configure_logs
from app.settings import Lifecycle
from tests.engine.capacity.groups import v2

LARGE_LIBRARIES = ("onnxruntime", "cv2", "numpy", "fastapi", "starlette", "uvicorn", "prometheus_client")
# A minimal server process: the first one runs FIRST, later ones stop the supervisor.
SERVER = """
import os, signal, sys, time
listener, heartbeat, restarts = sys.argv[-1].split(",")
heartbeat = int(heartbeat)
send = lambda heartbeats: os.write(heartbeat, heartbeats)
if restarts:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(30)
FIRST
"""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the signal handlers of the test process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def supervised(first: str, root: Path = Path("/"), **lifecycle: float) -> int:
    configure_logs("json")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        command = [sys.executable, "-c", SERVER.replace("FIRST", first)]
        return Supervisor(command, listener, Lifecycle(**lifecycle), SystemClock(), root=root).run()


@pytest.mark.parametrize(
    ("state", "now_s", "reason"),
    [
        (ProcessState(0.0), 119.9, None),
        (ProcessState(0.0), 120.1, "it sent no heartbeat"),
        (ProcessState(0.0, is_ready=True), 9.9, None),
        (ProcessState(0.0, is_ready=True), 10.1, "it sent no heartbeat"),
        (ProcessState(0.0, is_ready=True, is_stuck=True), 0.0, "its executor hangs"),
        (ProcessState(0.0, is_ready=True, is_stuck=True, stop_by_s=40.0), 39.9, None),
        (ProcessState(0.0, is_ready=True, stop_by_s=40.0), 40.0, "it did not exit in time"),
    ],
)
def test_a_hanging_process_is_killed_and_a_stopping_one_after_its_time_limit(
    state: ProcessState, now_s: float, reason: str | None
) -> None:
    assert kill_reason(state, now_s, hang_timeout_s=10) == reason


def test_the_first_restart_is_immediate_and_repeated_ones_back_off() -> None:
    assert [restart_delay_s(short_runs) for short_runs in (0, 1, 2, 3, 4, 100)] == [0, 0, 0.5, 1, 2, 30]


@pytest.mark.parametrize(
    ("returncode", "signals", "code"),
    [
        (0, (signal.SIGTERM,), 0),
        (3, (signal.SIGTERM,), 3),
        (-signal.SIGTERM, (signal.SIGTERM,), 0),
        (-signal.SIGHUP, (signal.SIGHUP,), 0),
        (-signal.SIGKILL, (signal.SIGTERM,), 137),
        (0, (signal.SIGTERM, signal.SIGTERM), 1),
    ],
)
def test_the_supervisor_exits_with_the_code_of_the_server_process(
    returncode: int, signals: tuple[int, ...], code: int
) -> None:
    assert exit_code(returncode, signals) == code


def test_inherited_values_round_trip_through_the_command_line() -> None:
    inherited = Inherited(3, 4, {"ended": 5, "hangs": 1})

    assert Inherited.parse(str(inherited)) == inherited
    assert Inherited.parse(str(Inherited(3, 4))) == Inherited(3, 4)


@pytest.mark.process
@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("send(b'+'); sys.exit(0)", "it exited"),
        ("send(b'+'); sys.exit(7)", "it exited"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "it exited"),
        ("send(b'+!'); time.sleep(30)", "its executor hangs"),
        ("send(b'+'); time.sleep(30)", "it sent no heartbeat"),
        ("send(b'+'); os.close(heartbeat); time.sleep(30)", "it closed its heartbeat pipe"),
    ],
)
def test_a_process_that_exits_or_hangs_is_restarted_with_one_log_line(
    first: str, reason: str, handlers: None, capfd: pytest.CaptureFixture[str]
) -> None:
    code = supervised(first, hang_timeout_s=1)
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]

    assert code == 0
    assert (line["event"], line["why"], line["restarts"]) == ("restarting the server process", reason, 1)


@pytest.mark.process
@pytest.mark.parametrize(
    ("kills", "reason"), [(3, "the kernel killed it for lack of memory"), (2, "it exited")]
)
def test_a_process_killed_for_lack_of_memory_is_reported_with_a_remedy(
    kills: int, reason: str, handlers: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    v2(tmp_path, "/", {"memory.events": "oom_kill 2\n", "memory.max": "800000000\n"})
    events = tmp_path / "sys/fs/cgroup/memory.events"
    kill = f"open({str(events)!r}, 'w').write('oom_kill {kills}'); os.kill(os.getpid(), signal.SIGKILL)"
    code = supervised(f"send(b'+'); {kill}", tmp_path, hang_timeout_s=1)
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]

    assert (code, line["why"]) == (0, reason)
    if kills > 2:
        assert (line["memory_mb"], line["memory_from"]) == (800, "/sys/fs/cgroup/memory.max")
        assert "CUTOUT_MEMORY_BUDGET" in line["remedy"]


@pytest.mark.process
@pytest.mark.parametrize("code", [1, 3])
def test_a_first_process_that_cannot_start_is_not_restarted(
    code: int, handlers: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert supervised(f"send(b'.'); sys.exit({code})") == code
    assert not capfd.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_stop_signal_ends_the_server_process(
    number: signal.Signals, handlers: None, capfd: pytest.CaptureFixture[str]
) -> None:
    listens = "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])"
    first = f"{listens}; os.kill(os.getppid(), {int(number)}); time.sleep(30)"
    code = supervised(f"signal.signal(signal.SIGINT, signal.SIG_DFL); {first}")

    assert code == 0
    assert not capfd.readouterr().err


@pytest.mark.process
def test_each_uncaught_exception_is_one_log_line() -> None:
    script = """
import threading
from app.logs import configure_logs, log_what_breaks
configure_logs("json")
log_what_breaks()
thread = threading.Thread(target=lambda: 1 / 0, name="of mine")
thread.start()
thread.join()
raise KeyError("x")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]

    assert [line["event"] for line in lines] == ["a thread broke", "the process broke"]
    assert lines[0]["thread"] == "of mine"
    assert "ZeroDivisionError" in lines[0]["exception"]
    assert "KeyError" in lines[1]["exception"]


@pytest.mark.process
def test_the_supervisor_imports_no_large_library() -> None:
    script = f"""
import sys
import app.cli, app.cli.supervise
print([name for name in {LARGE_LIBRARIES!r} if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"

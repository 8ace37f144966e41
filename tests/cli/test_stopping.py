"""Signals to stop, at the very end of a process."""

import signal
import subprocess
import sys

import pytest

ENDING = """
import os, time
from app.cli.stopping import ignore_stops, on_stop

class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"ending")
        sleep(0.5)

slow = Slow()
on_stop(lambda *_: None)
"""

pytestmark = pytest.mark.process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(("last", "is_killed"), [("ignore_stops()", False), ("", True)])
def test_a_signal_kills_no_process_that_ends_already(
    number: signal.Signals, last: str, *, is_killed: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDING + last],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.read(6) == b"ending"
    process.send_signal(number)

    assert process.wait(60) == (-number if is_killed else 0)

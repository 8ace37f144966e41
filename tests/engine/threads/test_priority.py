import asyncio
import ctypes
import os
import platform
import re
import struct
import sys
import threading

import pytest

from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits
from app.engine.clock import SystemClock
from app.engine.threads.priority import NICENESS, SHORT_SLICE_NS, favour_latency
from app.engine.threads.workers import Workers
from tests.fakes import RecordingObserver, SimulatedBackend, SimulatedRun
from tests.pictures import noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows threads of other priority")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def slice_ns() -> int:
    """Ask the kernel for the calling thread's slice (``sched_getattr``)."""
    attributes = ctypes.create_string_buffer(56)
    call = {"x86_64": 315, "aarch64": 275}[platform.machine()]
    assert ctypes.CDLL(None).syscall(call, 0, attributes, 56, 0) == 0
    return int(struct.unpack_from("Q", attributes, 24)[0])


def grants_slices() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    is_known = platform.machine() in ("x86_64", "aarch64")
    return is_known and release is not None and tuple(map(int, release.groups())) >= (6, 12)


@pytest.mark.skipif(sys.platform != "linux" or not grants_slices(), reason="this kernel grants no slices")
def test_the_event_loop_has_short_slices_and_its_workers_have_not() -> None:
    observed: list[int] = []

    def serve() -> None:
        usual = slice_ns()
        favour_latency()
        workers = Workers(1, SystemClock(), name="test")
        observed.extend((usual, slice_ns(), asyncio.run(workers.run(slice_ns))))
        workers.stop()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert [observed[0], SHORT_SLICE_NS, observed[0]] == observed
    assert observed[0] > SHORT_SLICE_NS


def test_a_worker_stands_behind_the_event_loop() -> None:
    workers = Workers(1, SystemClock(), name="test")
    before = niceness()
    theirs = asyncio.run(workers.run(niceness))
    workers.stop()

    assert NICENESS == theirs
    assert before == niceness()


def test_the_executor_stands_behind_the_event_loop() -> None:
    observed: list[int] = []

    def look(_: SimulatedRun) -> None:
        observed.append(niceness())

    limits = BatchLimits(1, 0.0, 4)
    batcher = Batcher(SimulatedBackend(on_run=look), limits, SystemClock(), RecordingObserver())
    batcher.start()
    batcher.submit("any", noise((8, 8, 3)), deadline_s=SystemClock().now_s() + 60).future.result()
    batcher.stop()

    assert [NICENESS] == observed


def test_a_thread_that_stepped_back_starts_threads_that_do() -> None:
    observed: list[int] = []

    def start_another() -> None:
        thread = threading.Thread(target=lambda: observed.append(niceness()))
        thread.start()
        thread.join()

    workers = Workers(1, SystemClock(), name="test")
    asyncio.run(workers.run(start_another))
    workers.stop()

    assert [NICENESS] == observed

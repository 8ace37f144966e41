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
from app.engine.threads.priority import (
    LONG_RUN_NICENESS,
    NICENESS,
    SHORT_SLICE_NS,
    favour_latency,
    find_threads,
    lower_priority_of,
)
from app.engine.threads.workers import Workers
from tests.fakes import RecordingObserver, SimulatedBackend, SimulatedRun
from tests.pictures import noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness per thread")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def slice_ns() -> int:
    """Read the calling thread's slice from the kernel (``sched_getattr``)."""
    attributes = ctypes.create_string_buffer(56)
    call = {"x86_64": 315, "aarch64": 275}[platform.machine()]
    assert ctypes.CDLL(None).syscall(call, 0, attributes, 56, 0) == 0
    return int(struct.unpack_from("Q", attributes, 24)[0])


def kernel_has_slices() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    is_supported = platform.machine() in ("x86_64", "aarch64")
    return is_supported and release is not None and tuple(map(int, release.groups())) >= (6, 12)


@pytest.mark.skipif(sys.platform != "linux" or not kernel_has_slices(), reason="this kernel has no slices")
def test_the_event_loop_has_short_slices_and_workers_have_default_ones() -> None:
    observed: list[int] = []

    def serve() -> None:
        default = slice_ns()
        favour_latency()
        workers = Workers(1, SystemClock(), name="test")
        observed.extend((default, slice_ns(), asyncio.run(workers.run(slice_ns))))
        workers.stop()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert [observed[0], SHORT_SLICE_NS, observed[0]] == observed
    assert observed[0] > SHORT_SLICE_NS


def test_a_worker_has_a_lower_priority_than_the_event_loop() -> None:
    workers = Workers(1, SystemClock(), name="test")
    before = niceness()
    workers_niceness = asyncio.run(workers.run(niceness))
    workers.stop()

    assert NICENESS == workers_niceness
    assert before == niceness()


def test_the_executor_has_a_lower_priority_than_the_event_loop() -> None:
    observed: list[int] = []

    def observe(_: SimulatedRun) -> None:
        observed.append(niceness())

    limits = BatchLimits(1, 0.0, 4)
    batcher = Batcher(SimulatedBackend(on_run=observe), limits, SystemClock(), RecordingObserver())
    batcher.start()
    batcher.submit("any", noise((8, 8, 3)), deadline_s=SystemClock().now_s() + 60).future.result()
    batcher.stop()

    assert [NICENESS] == observed


def test_threads_started_by_a_worker_inherit_its_priority() -> None:
    observed: list[int] = []

    def start_another() -> None:
        thread = threading.Thread(target=lambda: observed.append(niceness()))
        thread.start()
        thread.join()

    workers = Workers(1, SystemClock(), name="test")
    asyncio.run(workers.run(start_another))
    workers.stop()

    assert [NICENESS] == observed


def test_threads_that_a_call_starts_are_found_and_their_priority_is_lowered() -> None:
    ended = threading.Event()

    def start() -> threading.Thread:
        thread = threading.Thread(target=ended.wait)
        thread.start()
        return thread

    try:
        other, nothing = find_threads(lambda: None)
        thread, found = find_threads(start)
        again, second = find_threads(start)
        lower_priority_of(found)
        priorities = [os.getpriority(os.PRIO_PROCESS, each) for each in (*found, *second)]
    finally:
        ended.set()

    assert (other, nothing) == (None, ())
    assert (found, second) == ((thread.native_id,), (again.native_id,))
    assert priorities[0] == LONG_RUN_NICENESS > priorities[1]


def test_threads_that_have_ended_are_skipped() -> None:
    ended, is_over = threading.Thread(target=lambda: None), threading.Event()
    ended.start()
    ended.join()
    alive = threading.Thread(target=is_over.wait)
    alive.start()
    try:
        lower_priority_of([ended.native_id or 0, alive.native_id or 0])
        niceness = os.getpriority(os.PRIO_PROCESS, alive.native_id or 0)
    finally:
        is_over.set()

    assert niceness == LONG_RUN_NICENESS

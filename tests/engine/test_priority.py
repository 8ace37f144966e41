import asyncio
import os
import sys
import threading

import pytest

from app.engine.batching import Batcher
from app.engine.clock import SystemClock
from app.engine.planning import BatchLimits
from app.engine.priority import NICENESS
from app.engine.workers import Workers
from tests.fakes import RecordingObserver, SimulatedBackend, SimulatedRun
from tests.pictures import noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows threads of other priority")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_worker_stands_behind_the_event_loop() -> None:
    workers = Workers(1, SystemClock(), name="test")
    before = niceness()
    theirs = asyncio.run(workers.run(niceness))
    workers.stop()

    assert NICENESS == theirs
    assert before == niceness()


def test_the_executor_stands_behind_the_event_loop() -> None:
    seen: list[int] = []

    def look(_: SimulatedRun) -> None:
        seen.append(niceness())

    limits = BatchLimits(1, 0.0, 4)
    batcher = Batcher(SimulatedBackend(on_run=look), limits, SystemClock(), RecordingObserver())
    batcher.start()
    batcher.submit("any", noise((8, 8, 3)), deadline_s=SystemClock().now_s() + 60).future.result()
    batcher.stop()

    assert [NICENESS] == seen


def test_a_thread_that_stepped_back_starts_threads_that_do() -> None:
    seen: list[int] = []

    def start_another() -> None:
        thread = threading.Thread(target=lambda: seen.append(niceness()))
        thread.start()
        thread.join()

    workers = Workers(1, SystemClock(), name="test")
    asyncio.run(workers.run(start_another))
    workers.stop()

    assert [NICENESS] == seen

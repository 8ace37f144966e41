import asyncio

import pytest

from app.engine.threads.workers import Pools, Workers
from tests.engine.held import HeldCall
from tests.fakes import ManualClock


def test_busy_seconds_include_calls_that_still_run() -> None:
    clock, workers = ManualClock(), None

    async def work() -> list[float]:
        nonlocal workers
        workers = Workers(1, clock, name="decode")
        call = HeldCall(lambda: clock.advance(2.0))
        first = asyncio.create_task(workers.run(call))
        second = asyncio.create_task(workers.run(lambda: None))
        await asyncio.to_thread(call.wait_until_begun)
        clock.advance(3.0)
        looks = [workers.busy_s(), float(workers.waiting)]
        call.let_go()
        await asyncio.gather(first, second)
        return [*looks, workers.busy_s(), float(workers.waiting)]

    assert asyncio.run(work()) == [3.0, 1.0, 5.0, 0.0]


def test_a_call_that_has_not_begun_is_dropped_with_its_caller() -> None:
    calls: list[str] = []

    async def work() -> int:
        workers = Workers(1, ManualClock(), name="decode")
        call = HeldCall()
        first = asyncio.create_task(workers.run(call))
        second = asyncio.create_task(workers.run(calls.append, "second"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        call.let_go()
        await first
        return workers.waiting

    assert asyncio.run(work()) == 0
    assert calls == []


def test_a_caller_that_goes_does_not_wait_for_a_call_that_has_begun() -> None:
    ended: list[str] = []

    async def work() -> None:
        workers = Workers(1, ManualClock(), name="decode")
        call = HeldCall(lambda: ended.append("call"))
        caller = asyncio.create_task(workers.run(call))
        await asyncio.to_thread(call.wait_until_begun)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        ended.append("caller")
        call.let_go()
        workers.stop()

    asyncio.run(work())

    assert ended == ["caller", "call"]


def test_new_requests_that_decode_do_not_delay_those_that_are_nearly_done() -> None:
    async def work() -> str:
        pools = Pools.of(1, ManualClock())
        call = HeldCall()
        decoding = asyncio.create_task(pools.decode.run(call))
        finished = await pools.encode.run(lambda: "finished")
        call.let_go()
        await decoding
        pools.stop()
        return finished

    assert asyncio.run(work()) == "finished"


def test_bodies_and_headers_are_read_on_one_thread() -> None:
    """Two threads that pass the interpreter's lock to each other leave no turn to the event loop."""
    pools = Pools.of(8, ManualClock())
    pools.stop()

    assert pools.inspect.threads == 1

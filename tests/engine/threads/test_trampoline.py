import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.threads.trampoline import ThreadAwaitable, run_on_threads
from app.engine.threads.workers import Workers
from tests.engine.held import HeldCall
from tests.fakes import ManualClock


def on_two_pools(coroutine: Callable[[Workers, Workers], object]) -> object:
    """Run a coroutine over two pools of one thread each."""
    first, second = (Workers(1, ManualClock(), name=name) for name in ("first", "second"))
    try:
        return asyncio.run(run_on_threads(coroutine(first, second)))  # type: ignore[arg-type] # built by the caller
    finally:
        first.stop()
        second.stop()


def test_calls_run_one_after_another_and_the_coroutine_returns_the_result() -> None:
    async def coroutine(first: Workers, second: Workers) -> list[int]:
        one = await first.call(lambda: 1)
        two = await second.call(lambda number: number + 1, one)
        return [one, two]

    assert [1, 2] == on_two_pools(coroutine)


def test_the_event_loop_is_not_woken_between_two_calls() -> None:
    call = HeldCall()

    async def run() -> tuple[int, int]:
        workers = Workers(1, ManualClock(), name="test")

        async def coroutine() -> tuple[int, int]:
            return await workers.call(call), threading.get_ident()

        waiting = asyncio.create_task(run_on_threads(coroutine()))
        await asyncio.sleep(0)
        call.let_go()
        threads = await waiting
        workers.stop()
        return threads

    called_on, went_on_on = asyncio.run(run())

    assert called_on == went_on_on
    assert threading.get_ident() != went_on_on


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_a_call_is_raised_where_it_is_awaited_and_in_the_caller(failing: int) -> None:
    cleaned: list[str] = []

    def fail() -> None:
        raise LookupError("as raised")

    async def coroutine(*pools: Workers) -> None:
        for index, pool in enumerate(pools):
            try:
                await pool.call(fail if index == failing else lambda: None)
            except LookupError:
                cleaned.append(f"after call {index}")
                raise

    with pytest.raises(LookupError, match="as raised"):
        on_two_pools(coroutine)
    assert [f"after call {failing}"] == cleaned


def test_an_error_between_two_calls_is_raised_in_the_caller() -> None:
    async def coroutine(first: Workers, second: Workers) -> None:
        await first.call(lambda: None)
        raise LookupError("between")

    with pytest.raises(LookupError, match="between"):
        on_two_pools(coroutine)


def test_a_call_that_can_be_left_is_not_awaited() -> None:
    observed: list[str] = []
    endless: Future[int] = Future()
    endless.set_running_or_notify_cancel()

    async def coroutine() -> None:
        try:
            await ThreadAwaitable(endless, partial(observed.append, "given up"), can_be_left=True)
        finally:
            observed.append("cleaned")

    async def leave() -> None:
        waiting = asyncio.create_task(run_on_threads(coroutine()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        endless.set_result(1)  # too late: the coroutine has continued

    asyncio.run(leave())

    assert ["given up", "cleaned"] == observed


def test_a_cancelled_caller_does_not_wait_for_a_running_call_and_no_other_call_begins() -> None:
    """``on_end`` is called when the call has ended, since its arrays live until then."""
    observed: list[str] = []
    call = HeldCall(lambda: observed.append("call ended"))

    async def leave() -> None:
        workers = Workers(1, ManualClock(), name="test")
        ended = asyncio.Event()

        async def coroutine() -> None:
            await workers.call(call)
            await workers.call(observed.append, "never")

        def on_end() -> None:
            observed.append("coroutine ended")
            ended.set()

        waiting = asyncio.create_task(run_on_threads(coroutine(), on_end=on_end))
        await asyncio.to_thread(call.wait_until_begun)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        observed.append("caller left")
        call.let_go()
        await ended.wait()
        workers.stop()

    asyncio.run(leave())

    assert ["caller left", "call ended", "coroutine ended"] == observed


@pytest.mark.parametrize("failing", [False, True])
def test_on_end_is_called_before_the_caller_continues(failing: bool) -> None:
    observed: list[str] = []

    async def run() -> None:
        workers = Workers(1, ManualClock(), name="test")

        async def coroutine() -> None:
            await workers.call(lambda: 1 // (0 if failing else 1))

        with suppress(ZeroDivisionError):
            await run_on_threads(coroutine(), on_end=lambda: observed.append("end"))
        observed.append("caller")
        workers.stop()

    asyncio.run(run())

    assert ["end", "caller"] == observed


def test_a_call_that_is_cancelled_elsewhere_cancels_the_coroutine() -> None:
    dropped: Future[int] = Future()
    dropped.cancel()

    async def coroutine() -> None:
        await ThreadAwaitable(dropped, lambda: None)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_on_threads(coroutine()))


def test_results_of_calls_are_freed_with_the_coroutine_and_not_by_the_garbage_collector() -> None:
    """A picture is tens of megabytes; a collection starts only after thousands of small allocations."""

    class Picture:
        pass

    observed: list[weakref.ref[Picture]] = []

    async def run_some() -> None:
        workers = [Workers(1, ManualClock(), name="test") for _ in range(2)]

        async def coroutine() -> None:
            picture = await workers[0].call(Picture)
            observed.append(weakref.ref(picture))
            await workers[1].call(lambda _: None, picture)

        for _ in range(20):
            await run_on_threads(coroutine())
        for pool in workers:
            pool.stop()

    gc.collect()
    gc.disable()
    try:
        asyncio.run(run_some())
        assert [None] * 20 == [picture() for picture in observed]
    finally:
        gc.enable()


@given(
    pools=st.lists(st.integers(0, 1), max_size=6),
    leaves_after=st.one_of(st.none(), st.integers(0, 6)),
    yields=st.integers(0, 3),
)
def test_every_coroutine_ends_once_and_cleans_up_once(
    pools: list[int], leaves_after: int | None, yields: int
) -> None:
    """Wherever the caller is cancelled, the coroutine is left once, and no call begins after the end."""
    begun: list[int] = []
    ends: list[str] = []

    async def leave() -> str:
        workers = [Workers(1, ManualClock(), name="test") for _ in range(2)]
        at_call = asyncio.Event()
        loop = asyncio.get_running_loop()

        def call(index: int) -> int:
            begun.append(index)
            if index == leaves_after:
                loop.call_soon_threadsafe(at_call.set)
            return index

        async def coroutine() -> int:
            try:
                for index, pool in enumerate(pools):
                    assert index == await workers[pool].call(call, index)
                return len(pools)
            finally:
                ends.append("end")

        over = asyncio.Event()
        waiting = asyncio.create_task(run_on_threads(coroutine(), on_end=over.set))
        if leaves_after is not None and leaves_after < len(pools):
            await at_call.wait()
            for _ in range(yields):
                await asyncio.sleep(0)
            waiting.cancel()
        try:
            assert len(pools) == await waiting
            outcome = "whole"
        except asyncio.CancelledError:
            outcome = "left"
        await over.wait()
        at_end = len(begun)
        for pool in workers:
            pool.stop()
        assert at_end == len(begun)
        return outcome

    outcome = asyncio.run(leave())

    assert ["end"] == ends
    assert list(range(len(begun))) == begun
    assert outcome == "left" or len(begun) == len(pools)

import asyncio

import pytest

from app.errors import ResultsUnread
from app.web.batch.item import ItemResult
from app.web.batch.outbox import Outbox
from tests.fakes import ManualClock
from tests.web.batch.results import result_of


def item(size: int, released: list[str] | None = None) -> ItemResult:
    names = [] if released is None else released
    return ItemResult("a", 200, result_of(bytes(size)), release=lambda: names.append("a"))


def test_results_come_in_order_and_then_none() -> None:
    async def run() -> list[ItemResult | None]:
        outbox = Outbox(ManualClock(), limit_bytes=10, patience_s=1)
        first, second = item(1), item(2)
        outbox.put(first)
        taking = asyncio.create_task(outbox.take())
        assert await taking is first
        outbox.put(second)
        outbox.close()
        return [await outbox.take(), await outbox.take()]

    second, end = asyncio.run(run())
    assert second is not None
    assert end is None


def test_work_waits_for_room_until_a_result_is_written() -> None:
    async def run() -> int:
        outbox = Outbox(ManualClock(), limit_bytes=10, patience_s=60)
        outbox.put(item(11))
        waiting = asyncio.create_task(outbox.wait_for_room())
        await asyncio.sleep(0)
        assert not waiting.done()
        written = await outbox.take()
        assert written is not None
        outbox.finish(written)
        await waiting
        return outbox.held_bytes

    assert asyncio.run(run()) == 0


def test_a_client_that_does_not_read_for_a_while_is_not_waited_for() -> None:
    async def run() -> None:
        clock = ManualClock()
        outbox = Outbox(clock, limit_bytes=10, patience_s=5)
        outbox.put(item(11))
        clock.advance(4)
        outbox.note_progress()
        clock.advance(5)
        await outbox.wait_for_room()

    with pytest.raises(ResultsUnread):
        asyncio.run(run())


def test_dropped_results_are_released() -> None:
    released: list[str] = []

    async def run() -> None:
        outbox = Outbox(ManualClock(), limit_bytes=10, patience_s=5)
        outbox.put(item(1, released))
        outbox.drop()

    asyncio.run(run())
    assert released == ["a"]


def test_the_time_before_there_is_anything_to_read_does_not_count() -> None:
    async def run() -> bool:
        clock = ManualClock()
        outbox = Outbox(clock, limit_bytes=10, patience_s=5)
        clock.advance(60)
        outbox.put(item(11))
        waiting = asyncio.create_task(outbox.wait_for_room())
        await asyncio.sleep(0)
        is_waiting = not waiting.done()
        written = await outbox.take()
        assert written is not None
        outbox.finish(written)
        await waiting
        return is_waiting

    assert asyncio.run(run())

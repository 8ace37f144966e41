import asyncio

import pytest

from app.errors import Overloaded
from app.web.batch.gate import BatchGate


def test_one_batch_too_many_is_refused_with_a_time_to_try_again() -> None:
    gate = BatchGate(1)
    with gate.enter():
        with pytest.raises(Overloaded) as refused, gate.enter():
            pass
        assert refused.value.retry_after_s == 5
    with gate.enter():
        assert gate.batches == 1
    assert gate.batches == 0


def test_pictures_wait_for_a_slot_in_order() -> None:
    async def run() -> list[str]:
        gate, order = BatchGate(2), list[str]()

        async def take(name: str) -> None:
            async with gate.slot(1):
                order.append(name)
                await asyncio.sleep(0)
                assert gate.pictures == 1

        await asyncio.gather(*(take(name) for name in "abc"))
        return order

    assert asyncio.run(run()) == ["a", "b", "c"]


def test_a_cancelled_wait_takes_no_slot() -> None:
    async def run() -> int:
        gate = BatchGate(1)

        async def take() -> None:
            async with gate.slot(1):
                pass

        async with gate.slot(1):
            waiting = asyncio.create_task(take())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with gate.slot(1):
            return gate.pictures

    assert asyncio.run(run()) == 1

import asyncio

import pytest

from app.errors import Overloaded
from app.web.batch.limiter import BatchLimiter


def test_one_batch_too_many_is_refused_with_a_time_to_try_again() -> None:
    limiter = BatchLimiter(1)
    with limiter.enter():
        with pytest.raises(Overloaded) as refused, limiter.enter():
            pass
        assert refused.value.retry_after_s == 5
    with limiter.enter():
        assert limiter.batches == 1
    assert limiter.batches == 0


def test_pictures_wait_for_a_slot_in_order() -> None:
    async def run() -> list[str]:
        limiter, order = BatchLimiter(2), list[str]()

        async def take(name: str) -> None:
            async with limiter.slot(1):
                order.append(name)
                await asyncio.sleep(0)
                assert limiter.pictures == 1

        await asyncio.gather(*(take(name) for name in "abc"))
        return order

    assert asyncio.run(run()) == ["a", "b", "c"]


def test_a_cancelled_wait_takes_no_slot() -> None:
    async def run() -> int:
        limiter = BatchLimiter(1)

        async def take() -> None:
            async with limiter.slot(1):
                pass

        async with limiter.slot(1):
            waiting = asyncio.create_task(take())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with limiter.slot(1):
            return limiter.pictures

    assert asyncio.run(run()) == 1

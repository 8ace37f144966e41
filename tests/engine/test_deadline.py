import asyncio

import pytest

from app.engine.deadline import Abandoned, Deadline, Patience
from app.errors import DeadlineExceeded
from tests.fakes import ManualClock


def test_a_block_over_its_deadline_raises_with_the_time_limit() -> None:
    async def wait() -> None:
        async with Deadline(0.01):
            await asyncio.sleep(60)

    with pytest.raises(DeadlineExceeded) as error:
        asyncio.run(wait())
    assert error.value.deadline_s == 0.01


def test_check_raises_after_the_deadline() -> None:
    clock = ManualClock()
    patience = Patience(clock, deadline_s=3.0, allowed_s=3.0)
    clock.advance(3.0)
    patience.check()
    clock.advance(0.001)

    with pytest.raises(DeadlineExceeded):
        patience.check()


def test_check_raises_after_cancellation() -> None:
    patience = Patience(ManualClock(), deadline_s=3.0, allowed_s=3.0)
    patience.check()
    patience.is_over = True

    with pytest.raises(Abandoned):
        patience.check()

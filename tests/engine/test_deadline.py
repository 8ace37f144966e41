import asyncio

import pytest

from app.engine.deadline import Abandoned, Deadline, Patience
from app.errors import DeadlineExceeded
from tests.fakes import ManualClock


def test_a_block_that_takes_too_long_ends_with_the_time_it_had() -> None:
    async def wait() -> None:
        async with Deadline(0.01):
            await asyncio.sleep(60)

    with pytest.raises(DeadlineExceeded) as error:
        asyncio.run(wait())
    assert error.value.deadline_s == 0.01


def test_work_is_told_when_its_deadline_has_passed() -> None:
    clock = ManualClock()
    patience = Patience(clock, deadline_s=3.0, allowed_s=3.0)
    clock.advance(3.0)
    patience.check()
    clock.advance(0.001)

    with pytest.raises(DeadlineExceeded):
        patience.check()


def test_work_is_told_when_its_caller_has_left() -> None:
    patience = Patience(ManualClock(), deadline_s=3.0, allowed_s=3.0)
    patience.check()
    patience.is_over = True

    with pytest.raises(Abandoned):
        patience.check()

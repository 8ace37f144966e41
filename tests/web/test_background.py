"""What runs beside the requests goes on, whatever happens to it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.engine.capacity.quota import Rates
from app.web.api_keys import ApiKeys
from app.web.background import keep_running, watch_keys


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError, RuntimeError, OSError, KeyError])
def test_work_that_breaks_is_begun_again_and_told_once(error: type[Exception]) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun <= 3:
            raise error("the same")
        if begun == 4:
            raise error("another")

    with capture_logs() as lines:
        asyncio.run(keep_running("work", work, again_after_s=0))

    assert begun == 5
    assert [(line["log_level"], line["task"]) for line in lines] == [("error", "work")] * 2


def test_work_that_is_cancelled_ends() -> None:
    async def begin_and_cancel() -> None:
        task = asyncio.create_task(keep_running("work", lambda: asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(begin_and_cancel())


def test_a_broken_file_of_keys_is_told_once_for_each_way_in_which_it_is(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    ring = ApiKeys(file, None, Rates())

    async def watch(lines: Sequence[object]) -> None:
        task = asyncio.create_task(watch_keys(ring, every_s=0.001))
        good = f'[keys.a]\nsha256 = "{"ab" * 32}"'
        for count, content in enumerate(("[keys.", "[other]", good), start=1):
            file.with_name("next").write_text(content)
            file.with_name("next").replace(file)
            while len(lines) < count:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)  # some more looks at it
        task.cancel()

    with capture_logs() as lines:
        asyncio.run(asyncio.wait_for(watch(lines), 60))

    broken = "the keys stay what they were"
    assert [line["event"] for line in lines] == [broken, broken, "keys were read again"]
    assert ring.count == 1

"""Background tasks are restarted after any error."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.engine.capacity.quota import Rates
from app.web.api_keys import ApiKeys
from app.web.background import keep_running, watch_keys


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError, RuntimeError, OSError, KeyError])
def test_a_failed_task_is_restarted_and_each_error_is_logged_once(error: type[Exception]) -> None:
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts <= 3:
            raise error("the same")
        if starts == 4:
            raise error("another")

    with capture_logs() as lines:
        asyncio.run(keep_running("work", work, again_after_s=0))

    assert starts == 5
    assert [(line["log_level"], line["task"]) for line in lines] == [("error", "work")] * 2


def test_a_cancelled_task_is_not_restarted() -> None:
    async def begin_and_cancel() -> None:
        task = asyncio.create_task(keep_running("work", lambda: asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(begin_and_cancel())


def test_each_error_of_a_keys_file_is_logged_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    keys = ApiKeys(file, None, Rates())

    async def watch(lines: Sequence[object]) -> None:
        task = asyncio.create_task(watch_keys(keys, every_s=0.001))
        good = f'[keys.a]\nsha256 = "{"ab" * 32}"'
        for count, content in enumerate(("[keys.", "[other]", good), start=1):
            file.with_name("next").write_text(content)
            file.with_name("next").replace(file)
            while len(lines) < count:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)  # several more reloads
        task.cancel()

    with capture_logs() as lines:
        asyncio.run(asyncio.wait_for(watch(lines), 60))

    invalid = "invalid API keys: keeping the previous ones"
    assert [line["event"] for line in lines] == [invalid, invalid, "API keys reloaded"]
    assert keys.count == 1

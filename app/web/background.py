"""Background: what runs beside the requests as long as the server does, and goes on whatever happens.

A task of asyncio that raises is gone, and nobody hears of it before the server ends: a key that was withdrawn
would go on working. So each of them runs under ``keep_running``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from app.engine.capacity.memory import give_back_freed_memory
from app.web.api_keys import ApiKeys, KeysUnreadable
from app.web.service import Service

TIDY_EVERY_S = 10.0
SAMPLE_EVERY_S = 1.0
AGAIN_AFTER_S = 1.0

log = structlog.get_logger("cutout.background")


async def keep_running(
    name: str, work: Callable[[], Awaitable[None]], *, again_after_s: float = AGAIN_AFTER_S
) -> None:
    """Do some work that may not stop, and begin it again when it breaks, until cancelled or until it is done.

    Args:
        name: What the log calls it.
        work: Begins it.
        again_after_s: Time between its end and its next beginning.
    """
    told = ""
    while True:
        try:
            await work()
        except Exception as error:  # whatever it is, the next time may be better
            if repr(error) != told:
                log.error("a task in the background broke", task=name, exc_info=error)
            told = repr(error)
        else:
            return
        await asyncio.sleep(again_after_s)


async def tidy_up(service: Service) -> None:
    """Let unused models and freed memory go, every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(TIDY_EVERY_S)
        if service.pipeline is not None:
            service.pipeline.models.unload_unused(service.settings.engine.unload_after_s)
        await asyncio.to_thread(give_back_freed_memory)


async def sample(service: Service) -> None:
    """Let the metrics look at what is counted elsewhere, every second, until cancelled."""
    while True:
        await asyncio.sleep(SAMPLE_EVERY_S)
        service.telemetry.sample(now_s=service.clock.now_s(), cpu_s=time.process_time())


async def watch_keys(keys: ApiKeys, *, every_s: float = SAMPLE_EVERY_S) -> None:
    """Take over a changed file of keys within a second, until cancelled; a broken one changes nothing."""
    told = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await asyncio.to_thread(keys.refresh):
                log.info("keys were read again", keys=keys.count)
            told = ""
        except KeysUnreadable as error:
            if str(error) != told:
                log.error("the keys stay what they were", reason=str(error))
            told = str(error)

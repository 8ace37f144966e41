"""Background: tasks that run for the lifetime of the server, and are restarted if they fail.

An asyncio task that raises ends without a message until the server exits; for example, a revoked key would
stay valid. So each task runs under ``keep_running``.
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
    """Run a task, and restart it when it raises, until it returns or is cancelled.

    Args:
        name: The name of the task in the log.
        work: Starts the task.
        again_after_s: Time between a failure and the restart.
    """
    last_error = ""
    while True:
        try:
            await work()
        except Exception as error:  # any error may be temporary
            if repr(error) != last_error:
                log.error("background task failed", task=name, exc_info=error)
            last_error = repr(error)
        else:
            return
        await asyncio.sleep(again_after_s)


async def tidy_up(service: Service) -> None:
    """Unload unused models and return freed memory to the system, every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(TIDY_EVERY_S)
        if service.pipeline is not None:
            service.pipeline.models.unload_unused(service.settings.engine.unload_after_s)
        await asyncio.to_thread(give_back_freed_memory)


async def sample(service: Service) -> None:
    """Update the metrics that are sampled, every second, until cancelled."""
    while True:
        await asyncio.sleep(SAMPLE_EVERY_S)
        service.telemetry.sample(now_s=service.clock.now_s(), cpu_s=time.process_time())


async def watch_keys(keys: ApiKeys, *, every_s: float = SAMPLE_EVERY_S) -> None:
    """Reload a changed keys file within a second, until cancelled; an invalid file changes nothing."""
    last_error = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await asyncio.to_thread(keys.refresh):
                log.info("API keys reloaded", keys=keys.count)
            last_error = ""
        except KeysUnreadable as error:
            if str(error) != last_error:
                log.error("invalid API keys: keeping the previous ones", reason=str(error))
            last_error = str(error)

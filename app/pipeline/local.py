"""Local: runs the pipeline in this process, without a server.

``cutout remove`` and the evaluation use it, so that they get the results that the server would return.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from app.engine.capacity.admission import Admission
from app.engine.clock import SystemClock
from app.errors import Overloaded
from app.pipeline.build import open_pipeline
from app.pipeline.context import RequestContext
from app.pipeline.run import Pipeline
from app.pipeline.values import ImageRequest, Result
from app.settings import Settings
from app.telemetry import StepTimes, Telemetry

MAX_WAIT_S = 0.5
"""Time after which a waiting request tries again in any case: a step may hold memory after its request."""


@dataclass(frozen=True, slots=True)
class LocalPipeline:
    """A pipeline with its own admission budget."""

    pipeline: Pipeline
    _admission: Admission
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_flight(self) -> int:
        """How many requests keep the device and all threads busy.

        While one batch runs, the pictures of the next one are decoded, and those of the last one are encoded.
        """
        wanted = 2 * (self.pipeline.max_batch + self.pipeline.pools.decode.threads)
        return min(wanted, self._admission.budget.requests)

    async def run(self, request: ImageRequest, *, timeout_s: float) -> tuple[Result, StepTimes]:
        """Return the result of a request, and the duration of its steps.

        Raises:
            CutoutError: The picture or an option is refused, or a step fails.
        """
        clock = SystemClock()
        now_s = clock.now_s()
        with self._admission.enter() as permit:
            context = RequestContext(StepTimes(clock), now_s, now_s + timeout_s)
            context.permit = permit
            result = await self.pipeline.run(request, context)
        assert isinstance(result, Result)  # noqa: S101 - the context has no entity tags
        return result, context.steps

    async def run_when_admitted(self, request: ImageRequest, *, timeout_s: float) -> tuple[Result, StepTimes]:
        """Do the same, but wait while other requests use up the budgets.

        Raises:
            CutoutError: The picture or an option is refused, or a step fails.
        """
        while True:
            is_refused = False
            try:
                return await self.run(request, timeout_s=timeout_s)
            except Overloaded:
                is_refused = True
                if self._admission.requests == 0:
                    raise
            finally:
                if not is_refused:  # a refused request held nothing; if it woke others, they would spin
                    self._ended.set()
                    self._ended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), MAX_WAIT_S)


@contextmanager
def open_local_pipeline(settings: Settings) -> Iterator[LocalPipeline]:
    """Open a pipeline, as the settings specify, for the block.

    Raises:
        ModelUnavailable: The model is missing, or does not match its manifest.
        ProviderUnavailable: CUDA was requested and is not active.
    """
    pipeline = open_pipeline(settings, Telemetry())
    try:
        yield LocalPipeline(pipeline, Admission(pipeline.budget))
    finally:
        pipeline.close()

"""Local: runs the pipeline in this process, without a server.

``cutout remove`` and the evaluation use it, so that they get the results that the server would return.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.engine.capacity.admission import Admission
from app.engine.clock import SystemClock
from app.pipeline.build import budget_of, open_pipeline
from app.pipeline.context import RequestContext
from app.pipeline.run import Pipeline
from app.pipeline.values import ImageRequest, Result
from app.settings import Settings
from app.telemetry import StepTimes, Telemetry


@dataclass(frozen=True, slots=True)
class LocalPipeline:
    """A pipeline with its own admission budget."""

    pipeline: Pipeline
    _admission: Admission

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


@contextmanager
def open_local_pipeline(settings: Settings) -> Iterator[LocalPipeline]:
    """Open a pipeline, as the settings specify, for the block.

    Raises:
        ModelUnavailable: The model is missing, or does not match its manifest.
        ProviderUnavailable: CUDA was requested and is not active.
    """
    pipeline = open_pipeline(settings, Telemetry())
    try:
        yield LocalPipeline(pipeline, Admission(budget_of(settings)))
    finally:
        pipeline.close()

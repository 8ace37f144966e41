"""Item: processes one picture of a batch, admitted like a request of its own."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.errors import CutoutError, Overloaded, QuotaExceeded
from app.pipeline.context import RequestContext, time_limit
from app.pipeline.values import ImageRequest, MaskRequest, NotModified, Result
from app.telemetry import StepTimes
from app.telemetry.steps import nothing
from app.web.batch.reading import CHECK_EVERY_S
from app.web.drain import Phase
from app.web.problems import problem_body, result_or_problem
from app.web.request.entry_names import reported_name
from app.web.service import Service

OK, SKIPPED = 200, 304


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one picture of a batch.

    Attributes:
        name: Its name.
        status: The HTTP status of a single request with the same outcome; 304 if it was skipped.
        result: Its result.
        problem: The problem document, if it failed.
        steps_s: The duration of each step, in seconds.
        release: Called when the result is written, or dropped.
        is_mask: Whether the result is a mask.
    """

    name: str
    status: int
    result: Result | None = None
    problem: Mapping[str, object] | None = None
    steps_s: Mapping[str, float] = field(default_factory=dict)
    release: Callable[[], None] = nothing
    is_mask: bool = False

    @property
    def size_bytes(self) -> int:
        """The length of the encoded result."""
        return 0 if self.result is None else self.result.size_bytes


def failed(name: str, error: CutoutError, context: RequestContext) -> ItemResult:
    """Return the outcome of a picture that is refused before it is processed."""
    problem = problem_body(error, context.request_id)
    return ItemResult(reported_name(name), int(str(problem["status"])), problem=problem)


class ItemWork:
    """Processes the pictures of one batch.

    Args:
        service: The service.
        context: The context of the batch.
        allowed_s: The time that each picture has, from its first slot to its result.
    """

    def __init__(self, service: Service, context: RequestContext, allowed_s: float) -> None:
        self._service = service
        self._batch = context
        self._allowed_s = allowed_s
        self._is_first = True

    async def process(self, name: str, request: Callable[[], ImageRequest]) -> ItemResult:
        """Return the outcome of one picture; ``request`` parses its options."""
        clock, batch = self._service.clock, self._batch
        context = RequestContext(
            StepTimes(clock),
            clock.now_s(),
            request_id=batch.request_id,
            traceparent=batch.traceparent,
            key_name=batch.key_name,
            quota=batch.quota,
            is_background=True,
        )
        is_charged, self._is_first = self._is_first, False  # the batch itself was charged when it arrived
        try:
            done, problem = await result_or_problem(
                self._try_until_deadline(request, context, is_charged=is_charged), context
            )
        except BaseException:
            context.on_written()
            raise
        self._service.telemetry.batch_item_ended(context.outcome, model=context.model)
        self._service.telemetry.steps_ended(context.steps, outcome=context.outcome)
        status = OK if problem is None else int(str(problem["status"]))
        result, is_mask = (None, False) if done is None else done
        steps_s = dict(context.steps.seconds)
        return ItemResult(name, status, result, problem, steps_s, context.on_written, is_mask)

    async def _try_until_deadline(
        self, parse: Callable[[], ImageRequest], context: RequestContext, *, is_charged: bool
    ) -> tuple[Result, bool]:
        """Process a picture, and return whether its result is a mask.

        While the server or the quota of the key has no room for it, wait and try again.
        """
        request = parse()
        service = self._service
        while True:
            async with service.batches.slot(service.batch_concurrency()):
                if context.deadline_s == math.inf:  # the time for other batches does not count
                    context.started_s = service.clock.now_s()
                    context.deadline_s = context.started_s + self._allowed_s
                try:
                    if context.quota is not None and not is_charged:
                        context.quota.spend_request()
                        is_charged = True
                    return await self._try(request, context), isinstance(request, MaskRequest)
                except (Overloaded, QuotaExceeded) as error:
                    wait_s = error.retry_after_s or 1
                    if self._is_stopping or service.clock.now_s() + wait_s >= context.deadline_s:
                        raise
            await self._wait(wait_s)  # without a slot: another batch may have what this one lacks

    async def _wait(self, wait_s: float) -> None:
        """Wait, unless the server is stopping: then there is not the time."""
        now_s = self._service.clock.now_s
        ends_at_s = now_s() + wait_s
        while not self._is_stopping and (left_s := ends_at_s - now_s()) > 0:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(min(left_s, CHECK_EVERY_S))

    @property
    def _is_stopping(self) -> bool:
        return self._service.drain.phase is Phase.REFUSING

    async def _try(self, request: ImageRequest, context: RequestContext) -> Result:
        with self._service.admission.enter() as permit:
            context.permit = permit
            async with time_limit(context, self._service.clock):
                result = await self._service.run(request, context)
        assert not isinstance(result, NotModified)  # noqa: S101 - a batch sends no entity tags
        return result

"""Context: holds everything about one request except its pixels.

The outermost middleware creates the context, every layer fills in its part, and the access log writes a line
from it when the response is complete. Programs without HTTP create one for each picture.
"""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.engine.capacity.admission import Permit
from app.engine.capacity.quota import Quota
from app.engine.clock import Clock
from app.engine.deadline import Deadline, Patience
from app.errors import DeadlineExceeded
from app.pipeline.values import Result
from app.telemetry import StepTimes
from app.telemetry.steps import nothing


@dataclass(slots=True)
class RequestContext:
    """The state of one request. Times are from the service's clock.

    Attributes:
        steps: The duration of each step so far.
        started_s: When the request arrived.
        deadline_s: When the result must be ready; infinite for requests without a picture.
        request_id: The caller's id for it, or a new one.
        traceparent: The caller's W3C trace context, if well-formed.
        key_name: The name of the API key; empty without one. Cached results are returned to their key only.
        quota: The quota of the key.
        known_etags: Entity tags of results that the caller already has.
        idempotency_key: The caller's ``Idempotency-Key``.
        upload_bytes: The length of the body.
        model: The model that the request chose.
        outcome: ``ok``, or the slug of a problem.
        log_fields: Additional fields of the log line.
        has_begun: Whether a response has begun.
        is_duplex: Whether the response is sent while the body is still read.
        is_background: Whether other pictures go first on the device.
        item_s: The time that each picture of a batch has.
        on_written: Called when the response is complete, or abandoned.
    """

    steps: StepTimes
    started_s: float
    deadline_s: float = math.inf
    request_id: str = ""
    traceparent: str | None = None
    key_name: str = ""
    quota: Quota | None = None
    known_etags: frozenset[str] = frozenset()
    idempotency_key: str | None = None
    upload_bytes: int = 0
    model: str | None = None
    outcome: str = "ok"
    log_fields: dict[str, object] = field(default_factory=dict)
    has_begun: bool = False
    is_duplex: bool = False
    is_background: bool = False
    item_s: float = math.inf
    on_written: Callable[[], None] = nothing
    _permit: Permit | None = None

    @property
    def permit(self) -> Permit:
        """The permit of an admitted request.

        Raises:
            RuntimeError: The request has none; a bug.
        """
        if self._permit is None:
            raise RuntimeError("The request was not admitted.")
        return self._permit

    @permit.setter
    def permit(self, permit: Permit) -> None:
        self._permit = permit

    @property
    def allowed_s(self) -> float:
        """The time from the start of the request to its deadline, to the microsecond."""
        return round(self.deadline_s - self.started_s, 6)

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that this request belongs to, if the caller sent one."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    def log_result(self, result: Result) -> None:
        """Add the properties of a result to the log line."""
        self.log_fields = {
            "width_px": result.width_px,
            "height_px": result.height_px,
            "result_bytes": result.size_bytes,
            "provider": result.info.provider,
            "precision": result.info.precision,
            "matting": result.info.matting,
            "verdict": result.info.verdict.label,
        }


@asynccontextmanager
async def time_limit(context: RequestContext, clock: Clock) -> AsyncIterator[None]:
    """End the block at the request's deadline, and make its steps stop after the block has ended.

    Raises:
        DeadlineExceeded: The deadline has passed; it has the whole time that the request was allowed, even if
            a step raised it that knows the rest of that time only.
    """
    patience = Patience(clock, context.deadline_s, context.allowed_s)
    context.steps.check = patience.check
    try:
        async with Deadline(context.deadline_s - clock.now_s()):
            yield
    except DeadlineExceeded as error:
        raise DeadlineExceeded(context.allowed_s) from error
    finally:
        patience.is_over = True

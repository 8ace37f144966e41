"""Journal: what is known of one request, gathered on its way and written down at its end."""

import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from app.engine.capacity.quota import Quota
from app.pipeline.render import Result
from app.telemetry import StepTimes
from app.telemetry.steps import nothing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context


@dataclass(slots=True)
class RequestContext:
    """The facts of one request; ``outcome`` is ``ok`` or the slug of a problem.

    Instants are those of the service's clock; ``deadline_s`` is that of a request that brings a picture.
    """

    request_id: str
    steps: StepTimes
    started_s: float
    deadline_s: float = math.inf
    outcome: str = "ok"
    traceparent: str | None = None
    model: str | None = None
    key_name: str | None = None
    quota: Quota | None = None
    upload_bytes: int = 0
    facts: dict[str, object] = field(default_factory=dict)
    on_written: Callable[[], None] = nothing
    """Called when the answer is out, or nobody takes it any more."""

    @property
    def trace_id(self) -> str | None:
        """The trace this request belongs to, if the caller named one."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    def note(self, result: Result) -> None:
        """Keep what the log line says of an answer."""
        self.facts = {
            "width_px": result.width_px,
            "height_px": result.height_px,
            "result_bytes": result.size_bytes,
            "provider": result.info.provider,
            "matting": result.info.matting,
            "verdict": result.info.verdict.label,
        }


def context_of(scope: Scope) -> RequestContext:
    """Return the journal that the outermost middleware put into the scope."""
    return cast("RequestContext", scope["state"]["journal"])


def request_id_from(wanted: str | None) -> str:
    """Return the caller's request id if it is harmless, else a new one."""
    if wanted is not None and _REQUEST_ID.fullmatch(wanted):
        return wanted
    return uuid.uuid4().hex


def traceparent_from(sent: str | None) -> str | None:
    """Return the caller's W3C traceparent if it is well-formed."""
    return sent if sent is not None and _TRACEPARENT.fullmatch(sent) else None

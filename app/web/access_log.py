"""Access log: names, times, counts and logs each request once."""

import math

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine.capacity.quota import WINDOW_S, Quota
from app.engine.clock import Clock
from app.pipeline.context import RequestContext
from app.telemetry import StepTimes, Telemetry
from app.web.context import attach, request_id_from, traceparent_from
from app.web.endpoints.table import is_probe_at, label_of

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-store",
}
"""Responses are data for programs: if a browser opens one, it may load, run and frame nothing."""
log = structlog.get_logger("cutout.web")


def rate_limits(quota: Quota) -> dict[str, str]:
    """Return the header fields of draft-ietf-httpapi-ratelimit-headers; none without a quota."""
    statuses = tuple(quota.statuses())
    if not statuses:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{s.resource}";q={s.quota:.0f};w={WINDOW_S}' for s in statuses),
        "RateLimit": ", ".join(
            f'"{s.resource}";r={math.floor(s.remaining + 1e-6)};t={math.ceil(s.full_in_s)}' for s in statuses
        ),
    }


class AccessLog:
    """Pure ASGI, outermost: creates the context of a request, and logs it when the response is complete."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, clock: Clock) -> None:
        self._app = app
        self._telemetry = telemetry
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = label_of(scope["path"])
        is_probe = is_probe_at(scope["path"])
        self._telemetry.received.labels(endpoint).inc()
        sent = Headers(scope=scope)
        request_id = request_id_from(sent.get("x-request-id"))
        context = RequestContext(
            StepTimes(self._clock),
            self._clock.now_s(),
            request_id=request_id,
            traceparent=traceparent_from(sent.get("traceparent")),
        )
        attach(context, scope)
        status = 499

        async def add_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                if context.traceparent is not None:
                    headers["traceparent"] = context.traceparent
                if context.quota is not None:
                    headers.update(rate_limits(context.quota))
                elapsed_ms = (self._clock.now_s() - context.started_s) * 1e3
                steps = context.steps.server_timing()
                headers["Server-Timing"] = f"{steps}, total;dur={elapsed_ms:.2f}".removeprefix(", ")
            begun_s = self._clock.now_s()
            await send(message)
            if context.steps.seconds:  # a request that did some work; a probe writes too
                context.steps.add("write", self._clock.now_s() - begun_s)

        try:
            await self._app(scope, receive, add_headers)
        finally:
            context.on_written()
            self._close(endpoint, scope["method"], status, context, is_logged=not is_probe or status != 200)

    def _close(
        self, endpoint: str, method: str, status: int, context: RequestContext, *, is_logged: bool
    ) -> None:
        duration_s = self._clock.now_s() - context.started_s
        outcome = "client-disconnected" if status == 499 else context.outcome
        self._telemetry.request_ended(
            endpoint, model=context.model, outcome=outcome, status=status, duration_s=duration_s
        )
        self._telemetry.steps_ended(context.steps, outcome=outcome)
        if not is_logged:
            return
        log.info(
            "request",
            request_id=context.request_id,
            **({"trace_id": context.trace_id} if context.trace_id else {}),
            **({"key_name": context.key_name} if context.key_name else {}),
            endpoint=endpoint,
            method=method,
            status=status,
            outcome=outcome,
            model=context.model,
            upload_bytes=context.upload_bytes,
            duration_ms=round(duration_s * 1e3, 2),
            steps_ms={name: round(seconds * 1e3, 2) for name, seconds in context.steps.seconds.items()},
            **context.log_fields,
        )

"""Middleware: every request is named, timed, counted and logged, exactly once."""

import math

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine.clock import Clock
from app.engine.quota import WINDOW_S, Allowance
from app.telemetry import StepTimes, Telemetry
from app.web.endpoints import is_probe_at, label_of
from app.web.journal import Journal, request_id_from, traceparent_from

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-store",
}
"""An answer is a picture or text for a program: opened in a browser it may load, run and frame nothing."""
log = structlog.get_logger("cutout.web")


def rate_limits(allowance: Allowance) -> dict[str, str]:
    """Return the header fields of draft-ietf-httpapi-ratelimit-headers; none without a quota."""
    standings = tuple(allowance.standings())
    if not standings:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{s.resource}";q={s.quota:.0f};w={WINDOW_S}' for s in standings),
        "RateLimit": ", ".join(
            f'"{s.resource}";r={math.floor(s.remaining + 1e-6)};t={math.ceil(s.full_in_s)}' for s in standings
        ),
    }


class RequestJournal:
    """Pure ASGI, outermost: opens the journal of a request and closes it when the answer is out."""

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
        journal = Journal(request_id, StepTimes(self._clock), self._clock.now_s())
        journal.traceparent = traceparent_from(sent.get("traceparent"))
        scope.setdefault("state", {})["journal"] = journal
        status = 499

        async def add_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                if journal.traceparent is not None:
                    headers["traceparent"] = journal.traceparent
                if journal.allowance is not None:
                    headers.update(rate_limits(journal.allowance))
                elapsed_ms = (self._clock.now_s() - journal.started_s) * 1e3
                steps = journal.steps.server_timing()
                headers["Server-Timing"] = f"{steps}, total;dur={elapsed_ms:.2f}".removeprefix(", ")
            begun_s = self._clock.now_s()
            await send(message)
            if journal.steps.seconds:  # a request that did some work; a probe writes too
                journal.steps.add("write", self._clock.now_s() - begun_s)

        try:
            await self._app(scope, receive, add_headers)
        finally:
            journal.on_written()
            self._close(endpoint, scope["method"], status, journal, is_logged=not is_probe or status != 200)

    def _close(self, endpoint: str, method: str, status: int, journal: Journal, *, is_logged: bool) -> None:
        duration_s = self._clock.now_s() - journal.started_s
        outcome = "client-departed" if status == 499 else journal.outcome
        self._telemetry.request_ended(
            endpoint, model=journal.model, outcome=outcome, status=status, duration_s=duration_s
        )
        self._telemetry.steps_ended(journal.steps, outcome=outcome)
        if not is_logged:
            return
        log.info(
            "request",
            request_id=journal.request_id,
            **({"trace_id": journal.trace_id} if journal.trace_id else {}),
            **({"key_name": journal.key_name} if journal.key_name else {}),
            endpoint=endpoint,
            method=method,
            status=status,
            outcome=outcome,
            model=journal.model,
            upload_bytes=journal.upload_bytes,
            duration_ms=round(duration_s * 1e3, 2),
            steps_ms={name: round(seconds * 1e3, 2) for name, seconds in journal.steps.seconds.items()},
            **journal.facts,
        )

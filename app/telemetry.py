"""Telemetry: what the service says about itself, as metrics and as one log line a request.

Every label is bounded: endpoints, outcomes, steps and loaded models, never what a caller sent.
Each service has a registry of its own, so that two can live in one process.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from app import __version__
from app.engine.admission import Admission
from app.engine.clock import Clock

REQUEST_BUCKETS_S = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30,
)  # fmt: skip
STEP_BUCKETS_S = tuple(0.0005 * 2**k for k in range(16))
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
NO_MODEL = "none"


class StepTimes:
    """How long each step of one request took, in seconds, in the order they ran."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as step ``name``."""
        started_s = self._clock.now_s()
        try:
            yield
        finally:
            self.add(name, self._clock.now_s() - started_s)

    def add(self, name: str, duration_s: float) -> None:
        """Add a duration that was measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + duration_s

    def server_timing(self) -> str:
        """Return the value of the ``Server-Timing`` header, durations in milliseconds."""
        return ", ".join(f"{name};dur={duration * 1e3:.2f}" for name, duration in self.seconds.items())


class Telemetry:
    """The metrics of one service."""

    def __init__(self, *, requested_device: str = "auto") -> None:
        self.requested_device = requested_device
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        here = self.registry
        self.received = Counter(
            "cutout_requests_received", "Requests that arrived.", ["endpoint"], registry=here
        )
        self.requests = Counter(
            "cutout_requests",
            "Requests by their one outcome.",
            ["endpoint", "model", "outcome"],
            registry=here,
        )
        self.request_duration = Histogram(
            "cutout_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ["endpoint", "outcome"],
            buckets=REQUEST_BUCKETS_S,
            registry=here,
        )
        self.step_duration = Histogram(
            "cutout_step_duration_seconds",
            "One step of the journey.",
            ["step"],
            buckets=STEP_BUCKETS_S,
            registry=here,
        )
        self._count_runs(here)
        Gauge("cutout_build_info", "Version of the service.", ["version"], registry=here).labels(
            __version__
        ).set(1)

    def _count_runs(self, here: CollectorRegistry) -> None:
        """Add what concerns the network rather than the request."""
        self.batch_size = Histogram(
            "cutout_batch_size",
            "Pictures in one run of the network.",
            ["model"],
            buckets=BATCH_BUCKETS,
            registry=here,
        )
        self.infer_duration = Histogram(
            "cutout_infer_duration_seconds",
            "One run of the network.",
            ["model"],
            buckets=STEP_BUCKETS_S,
            registry=here,
        )
        self.padding = Counter(
            "cutout_batch_slots_padded", "Places in batches that no picture filled.", ["model"], registry=here
        )
        self.ready = Gauge("cutout_ready", "1 once models are loaded and warm.", registry=here)
        self.engine_up = Gauge("cutout_engine_up", "1 while a model is in memory.", ["model"], registry=here)
        self.provider_info = Gauge(
            "cutout_provider_info",
            "The execution provider asked for and the one really active.",
            ["model", "requested", "active"],
            registry=here,
        )
        self.lag = Histogram(
            "cutout_event_loop_lag_seconds",
            "How late the event loop was.",
            buckets=LAG_BUCKETS_S,
            registry=here,
        )

    def watch_admission(self, admission: Admission) -> None:
        """Export what is in flight, and the limits it runs against."""
        budget = admission.budget
        watched = (
            ("requests", lambda: admission.requests, budget.requests),
            ("bytes", lambda: admission.upload_bytes, budget.upload_bytes),
            ("pixels", lambda: admission.pixels, budget.pixels),
        )
        for name, in_flight, limit in watched:
            Gauge(f"cutout_inflight_{name}", f"In flight: {name}.", registry=self.registry).set_function(
                in_flight
            )
            Gauge(f"cutout_limit_{name}", f"Most in flight: {name}.", registry=self.registry).set(limit)
        Gauge(
            "cutout_saturation_ratio", "Share of the scarcest budget in use.", registry=self.registry
        ).set_function(admission.saturation)

    def watch_queue(
        self, depth: Callable[[], float], oldest_age_s: Callable[[], float], wait_s: Callable[[], float]
    ) -> None:
        """Export the queue before the network: its length, its oldest, and what an arrival would wait."""
        for name, meaning, read in (
            ("cutout_queue_depth", "Pictures that wait for the network.", depth),
            ("cutout_queue_oldest_age_seconds", "How long the first of them has waited.", oldest_age_s),
            ("cutout_estimated_wait_seconds", "Device time ahead of a picture that arrives now.", wait_s),
        ):
            Gauge(name, meaning, registry=self.registry).set_function(read)

    def watch_lifecycle(self, is_draining: Callable[[], bool], *, restarts: int) -> None:
        """Export whether the process is about to leave, and how many workers it comes after."""
        Gauge("cutout_draining", "1 once told to stop.", registry=self.registry).set_function(is_draining)
        Counter(
            "cutout_engine_restarts", "Workers that the supervisor replaced.", registry=self.registry
        ).inc(restarts)

    def model_came(self, name: str, provider: str) -> None:
        """Say that a model is in memory, and what it runs on; the ``ModelObserver``."""
        self.provider_info.labels(name, self.requested_device, provider).set(1)
        self.engine_up.labels(name).set(1)

    def model_went(self, name: str, provider: str) -> None:
        """Say that a model is not in memory any more."""
        self.provider_info.remove(name, self.requested_device, provider)
        self.engine_up.labels(name).set(0)

    def batch_ran(self, model: str, *, pictures: int, padding: int, duration_s: float) -> None:
        """Take note of one run of the network; the ``BatchObserver`` of the batcher."""
        self.batch_size.labels(model).observe(pictures)
        self.padding.labels(model).inc(padding)
        self.infer_duration.labels(model).observe(duration_s)

    def request_ended(
        self, endpoint: str, *, model: str | None, outcome: str, duration_s: float, steps: StepTimes
    ) -> None:
        """Count a request under its one outcome."""
        self.requests.labels(endpoint, model or NO_MODEL, outcome).inc()
        self.request_duration.labels(endpoint, outcome).observe(duration_s)
        for name, seconds in steps.seconds.items():
            self.step_duration.labels(name).observe(seconds)


def configure_logs(log_format: Literal["auto", "json", "text"]) -> None:
    """Send our log lines, and those of the libraries, to stderr in one shape."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer()
    )
    last = [structlog.processors.format_exc_info] if is_json else []
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for library in ("uvicorn", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)  # a library's warning is a log line too, not bare text between them
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings quote the upload

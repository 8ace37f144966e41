"""Metrics: counts and times requests, steps and connections.

Every label has a bounded set of values: endpoints, outcomes, steps and models in the folder, never a value
from a request. Each service has its own registry, so that two can run in one process.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from app import __version__
from app.engine.capacity.admission import Admission
from app.telemetry.runs import RunMetrics
from app.telemetry.saturation import Sample, Saturation
from app.telemetry.steps import StepTimes

REQUEST_BUCKETS_S = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30,
)  # fmt: skip
STEP_BUCKETS_S = tuple(0.0005 * 2**k for k in range(16))
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
NO_MODEL = "none"
CORES = "cores"

OVERLOADED, DISCONNECTED, EXPIRED = "overloaded", "client-disconnected", "deadline-exceeded"


class Step(Protocol):
    """The worker threads of one step."""

    @property
    def threads(self) -> int:
        """The number of threads."""
        ...

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        ...

    def busy_s(self) -> float:
        """Return the seconds of work so far, summed over the threads."""
        ...


class Telemetry:
    """The metrics of one service."""

    def __init__(self, *, requested_device: str = "auto") -> None:
        self.registry = registry = CollectorRegistry()
        self.runs = RunMetrics(registry, requested_device=requested_device)
        self._steps: Mapping[str, Step] = {}
        self._busy_s: Mapping[str, float] = {}
        self._saturation = Saturation({})
        self._accepted = self._refused = 0
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.received = Counter(
            "cutout_requests_received", "Requests that arrived.", ["endpoint"], registry=registry
        )
        self.closed = Counter(
            "cutout_connections_closed",
            "Connections that the server closed.",
            ["reason"],
            registry=registry,
        )
        self._create_request_metrics(registry)
        self._create_step_metrics(registry)
        self.ready = Gauge("cutout_ready", "1 once models are loaded and warm.", registry=registry)
        self.lag = Histogram(
            "cutout_event_loop_lag_seconds",
            "Lag of the event loop.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        Gauge("cutout_build_info", "Version of the service.", ["version"], registry=registry).labels(
            __version__
        ).set(1)

    def _create_request_metrics(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "cutout_requests",
            "Finished requests by outcome.",
            ["endpoint", "model", "outcome"],
            registry=registry,
        )
        self._request_duration = Histogram(
            "cutout_request_duration_seconds",
            "From the first byte of a request to the last of its response.",
            ["endpoint", "model", "outcome_class"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._batch_items = Counter(
            "cutout_batch_request_pictures",
            "Pictures of batches, by model and outcome; the batch itself counts as one request.",
            ["model", "outcome"],
            registry=registry,
        )
        self._cancelled = Counter(
            "cutout_cancelled",
            "Requests whose client disconnected or whose deadline passed, by the step they had reached.",
            ["step"],
            registry=registry,
        )
        self._wasted = Counter(
            "cutout_wasted_seconds",
            "Work for requests that were cancelled or expired.",
            ["step"],
            registry=registry,
        )

    def _create_step_metrics(self, registry: CollectorRegistry) -> None:
        self._step_duration = Histogram(
            "cutout_step_duration_seconds",
            "Duration of one step of a request.",
            ["step"],
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self._workers = Gauge("cutout_step_workers", "Threads of a step.", ["step"], registry=registry)
        self._depth = Gauge(
            "cutout_step_queue_depth",
            "Pictures that wait for a thread of a step.",
            ["step"],
            registry=registry,
        )
        self._busy = Counter(
            "cutout_step_busy_seconds", "Busy time of a step's threads.", ["step"], registry=registry
        )
        Gauge(
            "cutout_saturation_ratio",
            "Utilisation of the busiest step × (1 + refused / accepted), over the last 15 s.",
            registry=registry,
        ).set_function(lambda: self._saturation.ratio())

    def watch_admission(self, admission: Admission) -> None:
        """Export the requests, bytes, pixels and memory in flight, and their limits."""
        watched = (  # the limits are final when the models are warm
            ("requests", lambda: admission.requests, lambda: admission.budget.requests),
            ("bytes", lambda: admission.upload_bytes, lambda: admission.budget.upload_bytes),
            ("pixels", lambda: admission.pixels, lambda: admission.budget.pixels),
            ("memory_bytes", lambda: admission.memory_bytes, lambda: admission.budget.memory_bytes),
        )
        for name, in_flight, limit in watched:
            Gauge(f"cutout_inflight_{name}", f"In flight: {name}.", registry=self.registry).set_function(
                in_flight
            )
            Gauge(f"cutout_limit_{name}", f"Limit in flight: {name}.", registry=self.registry).set_function(
                limit
            )

    def watch_steps(self, steps: Mapping[str, Step], *, cores: float) -> None:
        """Export the threads, queue and busy time of each step; ``sample`` must be called periodically."""
        self._steps = steps
        self._saturation = Saturation({CORES: cores} | {name: step.threads for name, step in steps.items()})
        for name, step in steps.items():
            self._workers.labels(name).set(step.threads)
            self._depth.labels(name).set_function(partial(getattr, step, "waiting"))

    def watch_gpu(self, *, used_bytes: Callable[[], float], total_bytes: Callable[[], float]) -> None:
        """Export the memory of the GPU that runs the networks."""
        memory = Gauge(
            "cutout_gpu_memory_bytes",
            "Memory of the GPU, including other programs.",
            ["kind"],
            registry=self.registry,
        )
        memory.labels("used").set_function(used_bytes)
        memory.labels("total").set_function(total_bytes)

    def sample(self, *, now_s: float, cpu_s: float) -> None:
        """Update the metrics that are derived from counters; ``cpu_s`` is the process's processor time."""
        busy_s = {name: step.busy_s() for name, step in self._steps.items()}
        for name, seconds in busy_s.items():
            self._busy.labels(name).inc(max(0.0, seconds - self._busy_s.get(name, 0.0)))
        self._busy_s = busy_s
        self._saturation.add(Sample(now_s, busy_s | {CORES: cpu_s}, self._accepted, self._refused))

    def watch_lifecycle(self, is_draining: Callable[[], bool], *, restarts: Mapping[str, int]) -> None:
        """Export whether the process is draining, and the counts by reason of the processes it replaces."""
        Gauge("cutout_draining", "1 after the first signal to stop.", registry=self.registry).set_function(
            is_draining
        )
        replaced = Counter(
            "cutout_engine_restarts",
            "Server processes that the supervisor restarted.",
            ["reason"],
            registry=self.registry,
        )
        for reason, count in restarts.items():
            replaced.labels(reason).inc(count)

    def request_ended(
        self, endpoint: str, *, model: str | None, outcome: str, status: int, duration_s: float
    ) -> None:
        """Record a finished request under its one outcome."""
        name = model or NO_MODEL
        self._requests.labels(endpoint, name, outcome).inc()
        self._request_duration.labels(endpoint, name, outcome_class(status)).observe(duration_s)
        if outcome == OVERLOADED:
            self._refused += 1
        elif model is not None:
            self._accepted += 1

    def batch_item_ended(self, outcome: str, *, model: str | None) -> None:
        """Record a finished picture of a batch under its one outcome."""
        self._batch_items.labels(model or NO_MODEL, outcome).inc()
        if outcome == OVERLOADED:
            self._refused += 1
        elif model is not None:
            self._accepted += 1

    def steps_ended(self, steps: StepTimes, *, outcome: str) -> None:
        """Record the steps of a request, and its wasted work if it was cancelled or expired."""
        for name, seconds in steps.seconds.items():
            self._step_duration.labels(name).observe(seconds)
        if outcome in (DISCONNECTED, EXPIRED):
            self._cancelled.labels(steps.current).inc()
            for name, seconds in steps.seconds.items():
                self._wasted.labels(name).inc(seconds)


def outcome_class(status: int) -> str:
    """Return the class of an outcome; the classes are few enough for one histogram each."""
    if status == 499:
        return "disconnected"
    if status in (429, 503):
        return "overloaded"
    return {2: "ok", 4: "refused"}.get(status // 100, "failed")

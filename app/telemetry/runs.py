"""Runs: the metrics of network runs and loaded models; observes the batcher and the model registry."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.engine.models.precision import PrecisionChoice

BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
UNKNOWN = "unknown"
RUN_BUCKETS_S = tuple(0.001 * 1.5**k for k in range(20))


class RunMetrics:
    """The metrics of the networks; the labels are models in the folder, warmed batch sizes and providers."""

    def __init__(self, registry: CollectorRegistry, *, requested_device: str) -> None:
        self._requested_device = requested_device
        self._registry = registry
        self._providers: dict[str, str] = {}
        self._choices: dict[str, PrecisionChoice] = {}
        self._oldest_age_s: Callable[[str], float] = lambda _: 0.0
        self._wait_s: Callable[[str], float] = lambda _: 0.0
        self._create_run_metrics()
        self._create_model_metrics()

    def _create_run_metrics(self) -> None:
        by_size = ["model", "provider", "batch_bucket"]
        self._batch_size = self._histogram(
            "cutout_batch_size", "Pictures in one run of the network.", ["model", "bucket"], BATCH_BUCKETS
        )
        self._duration = self._histogram(
            "cutout_infer_duration_seconds", "Duration of a completed run.", by_size, RUN_BUCKETS_S
        )
        self._executions = self._counter(
            "cutout_infer_executions",
            "Runs started, including those that failed or were ended early.",
            by_size,
        )
        self._padding = self._counter("cutout_batch_slots_padded", "Padded places in batches.", ["model"])
        self._dispatches = self._counter(
            "cutout_batch_dispatch", "Batches started, by reason.", ["model", "reason"]
        )

    def _create_model_metrics(self) -> None:
        self._engine_up = self._gauge("cutout_engine_up", "1 while a model is in memory.", ["model"])
        self._provider_info = self._gauge(
            "cutout_provider_info",
            "The requested execution provider and the active one.",
            ["model", "requested", "active"],
        )
        self._precision_info = self._gauge(
            "cutout_precision_info",
            "The requested precision of a model and the active one.",
            ["model", "requested", "active"],
        )
        self._speed_ratio = self._gauge(
            "cutout_precision_speed_ratio",
            "How many times as fast as float32 the graph in another precision ran at the load.",
            ["model"],
        )
        self._difference = self._gauge(
            "cutout_precision_difference",
            "Mean absolute difference of the other precision's maps from those in float32.",
            ["model"],
        )
        self._load = self._gauge(
            "cutout_model_load_seconds", "Duration of the last load, warm-up included.", ["model"]
        )
        self._warmup = self._gauge(
            "cutout_warmup_seconds", "Duration of the last warm-up.", ["model", "batch_bucket"]
        )
        self._oldest_age = self._gauge(
            "cutout_queue_oldest_age_seconds", "Waiting time of the oldest queued picture.", ["model"]
        )
        self._wait = self._gauge(
            "cutout_estimated_wait_seconds", "Estimated wait of a picture that arrives now.", ["model"]
        )

    def watch_queue(self, oldest_age_s: Callable[[str], float], wait_s: Callable[[str], float]) -> None:
        """Export each loaded model's queue, read from functions of the model's name."""
        self._oldest_age_s, self._wait_s = oldest_age_s, wait_s

    def batch_sent(self, model: str, *, size: int, reason: str) -> None:
        """Record that a run starts, at batch size ``size``."""
        self._executions.labels(model, self._providers.get(model, UNKNOWN), size).inc()
        self._dispatches.labels(model, reason).inc()

    def batch_ran(self, model: str, *, size: int, pictures: int, duration_s: float) -> None:
        """Record that a run completed."""
        self._batch_size.labels(model, size).observe(pictures)
        self._duration.labels(model, self._providers.get(model, UNKNOWN), size).observe(duration_s)
        self._padding.labels(model).inc(size - pictures)

    def model_loaded(
        self,
        name: str,
        provider: str,
        *,
        choice: PrecisionChoice,
        load_s: float,
        warmup_s: Mapping[int, float],
    ) -> None:
        """Record that a model was loaded, its provider and precision, and how long that took."""
        self._providers[name] = provider
        self._provider_info.labels(name, self._requested_device, provider).set(1)
        self._choices[name] = choice
        self._precision_info.labels(name, choice.requested, choice.precision).set(1)
        for gauge, value in self._figures_of(choice):
            gauge.labels(name).set(value)
        self._engine_up.labels(name).set(1)
        self._load.labels(name).set(load_s)
        for size, seconds in warmup_s.items():
            self._warmup.labels(name, size).set(seconds)
        self._oldest_age.labels(name).set_function(lambda: self._oldest_age_s(name))
        self._wait.labels(name).set_function(lambda: self._wait_s(name))

    def model_unloaded(self, name: str, provider: str) -> None:
        """Record that a model was unloaded."""
        self._provider_info.remove(name, self._requested_device, provider)
        choice = self._choices.pop(name)
        self._precision_info.remove(name, choice.requested, choice.precision)
        for figure, _ in self._figures_of(choice):
            figure.remove(name)
        self._engine_up.labels(name).set(0)
        for gauge in (self._oldest_age, self._wait):
            gauge.remove(name)

    def _figures_of(self, choice: PrecisionChoice) -> list[tuple[Gauge, float]]:
        """Return the gauges of a comparison with their values; none if precisions were not compared."""
        figures = ((self._speed_ratio, choice.speed_ratio), (self._difference, choice.difference))
        return [(gauge, value) for gauge, value in figures if value is not None]

    def _counter(self, name: str, description: str, labels: list[str]) -> Counter:
        return Counter(name, description, labels, registry=self._registry)

    def _gauge(self, name: str, description: str, labels: list[str]) -> Gauge:
        return Gauge(name, description, labels, registry=self._registry)

    def _histogram(
        self, name: str, description: str, labels: list[str], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, description, labels, buckets=buckets, registry=self._registry)

"""Build: makes a pipeline from settings, without HTTP.

The server, ``cutout remove``, ``cutout doctor``, the evaluation and Ray all use it.
"""

from collections.abc import Mapping
from functools import partial

import cv2
import structlog

from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits, CostTable
from app.engine.capacity.admission import Budget
from app.engine.capacity.memory import (
    available_memory,
    default_budget,
    for_pictures,
    for_uploads,
    resident_bytes,
)
from app.engine.capacity.processor import network_threads, usable_processor
from app.engine.clock import Clock, SystemClock
from app.engine.models.device import CPU, CUDA, probe
from app.engine.models.gpu import GpuUnreadable, open_gpu_memory
from app.engine.models.known import how_to_add
from app.engine.models.loading import Loader
from app.engine.models.registry import ModelObserver, ModelRegistry
from app.engine.threads.sandbox import SandboxPool
from app.engine.threads.workers import Pools
from app.errors import ModelUnavailable
from app.imaging.formats.decode import decode
from app.pipeline.footprint import PictureLimits
from app.pipeline.photographs import photographs
from app.pipeline.render import RenderLimits
from app.pipeline.result_cache import ResultCache
from app.pipeline.run import Pipeline
from app.pipeline.sandboxed_decoder import COMMAND, SandboxedDecoder
from app.settings import Settings
from app.telemetry import Step, Telemetry

log = structlog.get_logger("cutout.build")
UNKNOWN_MACHINE_BYTES = 8 * 2**30
"""The memory that is assumed if the machine does not report it."""


def open_pipeline(
    settings: Settings, telemetry: Telemetry, *, observer: ModelObserver | None = None
) -> Pipeline:
    """Load and warm the models and start the threads; blocks until requests can be served.

    Args:
        settings: The settings.
        telemetry: Receives the metrics.
        observer: Receives the events of models, and passes them on to ``telemetry.runs``.

    Raises:
        ModelUnavailable: The default model cannot be served.
        ProviderUnavailable: CUDA was requested and is not active.
    """
    clock = SystemClock()
    cv2.setNumThreads(1)  # the worker threads are the parallelism; OpenCV's own would compete with them
    loader, models, batcher = _open_networks(settings, telemetry, observer or telemetry.runs, clock)
    pools = Pools.of(settings.engine.workers or usable_processor().threads, clock)
    sandboxes = _open_sandboxes(settings, clock)
    budget = budget_of(settings, held_bytes=_held_bytes(settings, sandboxes))
    limit_px = min(settings.limits.picture_pixels, budget.pixels)
    limits = PictureLimits(limit_px, settings.limits.picture_side_px, budget.memory_bytes)
    pipeline = Pipeline(
        models,
        batcher,
        pools,
        clock=clock,
        budget=budget,
        limits=limits,
        render_limits=RenderLimits(settings.engine.hq_budget_s, limits),
        decoder=decode if sandboxes is None else SandboxedDecoder(sandboxes, limit_px),
        results=ResultCache(settings.cache_bytes),
        why_not_cuda=loader.probe.why_not_cuda,
        on_close=(lambda: None) if sandboxes is None else sandboxes.close,
    )
    _watch(pipeline, batcher, telemetry)
    return pipeline


def budget_of(settings: Settings, *, held_bytes: int = 0) -> Budget:
    """Return the limits on requests in flight; without a setting for pixels, memory alone limits them.

    Args:
        settings: The settings; those that are set win.
        held_bytes: The memory that the process holds without any request.
    """
    limits = settings.limits
    available = available_memory()
    available_bytes = UNKNOWN_MACHINE_BYTES if available is None else int(available.value)
    total_bytes = settings.memory_budget or default_budget(available_bytes, held_bytes)
    upload_bytes = limits.in_flight_bytes or for_uploads(total_bytes, limits.upload_bytes)
    memory_bytes = for_pictures(total_bytes, upload_bytes)
    pixels = limits.in_flight_pixels or memory_bytes  # no pixel takes less than a byte
    return Budget(limits.in_flight_requests, upload_bytes, pixels, memory_bytes)


def _held_bytes(settings: Settings, sandboxes: SandboxPool | None) -> int:
    """Return what the process and its sandboxes hold with warm models, and what the result cache may hold."""
    children = () if sandboxes is None else sandboxes.pids()
    return resident_bytes() + sum(map(resident_bytes, children)) + settings.cache_bytes


def _open_networks(
    settings: Settings, telemetry: Telemetry, observer: ModelObserver, clock: Clock
) -> tuple[Loader, ModelRegistry, Batcher]:
    """Load the models, and start the thread that runs them."""
    engine = settings.engine
    loader = Loader(
        settings.models_dir,
        device=settings.device,
        probe=probe(settings.device),
        threads=network_threads(engine.threads, usable_processor()),
        max_batch=engine.max_batch,
        clock=clock,
        precision=settings.precision,
        photographs=photographs,
    )
    _check_model_for(settings, loader.available())
    models = ModelRegistry(
        loader,
        settings.models,
        maximum=engine.max_models,
        clock=clock,
        observer=observer,
        limit_bytes=engine.models_bytes,
    )
    costs: dict[str, Mapping[int, float]] = {}
    models.on_costs = costs.__setitem__
    models.load_pinned(_log_broken)
    largest = loader.largest_batch(models.provider)
    batch_limits = BatchLimits(largest, engine.max_delay_s, settings.limits.in_flight_requests)
    overtakes = models.provider == CPU  # a GPU runs one batch after the other, in milliseconds
    batcher = Batcher(models, batch_limits, clock, telemetry.runs, CostTable(costs), overtakes=overtakes)
    _warn_of_slow_models(costs, settings.limits.deadline_s)
    models.on_costs = partial(_learn_costs, batcher, settings.limits.deadline_s)
    batcher.start()
    return loader, models, batcher


def _learn_costs(batcher: Batcher, deadline_s: float, model: str, seconds: Mapping[int, float]) -> None:
    batcher.learn_costs(model, seconds)
    _warn_of_slow_models({model: seconds}, deadline_s)


def _warn_of_slow_models(costs: Mapping[str, Mapping[int, float]], deadline_s: float) -> None:
    """Log the models of which one run takes longer than a request may: each request for them would fail."""
    for model, seconds in costs.items():
        run_s = min(seconds.values(), default=0.0)
        if run_s > deadline_s:
            log.warning(
                "a run takes longer than a request may: raise CUTOUT_LIMITS__DEADLINE_S",
                model=model,
                run_s=round(run_s, 1),
                deadline_s=deadline_s,
            )


def _check_model_for(settings: Settings, available: frozenset[str]) -> None:
    """Check that the models for types of subjects exist; they are loaded by the first request for them."""
    for kind, name in settings.model_for.named().items():
        if name not in available:
            reason = f"CUTOUT_MODEL_FOR__{kind.upper()}={name}, but {settings.models_dir} has no such model"
            raise ModelUnavailable(name, f"{reason}. {how_to_add(name)}".rstrip(), contradicts_settings=True)


def _open_sandboxes(settings: Settings, clock: Clock) -> SandboxPool | None:
    """Start the decoding processes, if the settings enable them; they are ready when this returns."""
    engine = settings.engine
    if engine.decoders == 0:
        return None
    sandboxes = SandboxPool(COMMAND, engine.decoders, engine.decode_timeout_s, clock)
    sandboxes.start()
    return sandboxes


def _watch(pipeline: Pipeline, batcher: Batcher, telemetry: Telemetry) -> None:
    """Let the metrics read the pipeline's state."""
    telemetry.ready.set(1)
    telemetry.runs.watch_queue(batcher.oldest_age_s, pipeline.device_wait_s)
    pools = pipeline.pools
    steps: dict[str, Step] = {
        "decode": pools.decode,
        "infer": batcher,
        "matte": pools.matte,
        "encode": pools.encode,
    }
    telemetry.watch_steps(steps, cores=usable_processor().capacity)
    if pipeline.models.provider == CUDA:
        _watch_gpu(telemetry)


def _watch_gpu(telemetry: Telemetry) -> None:
    try:
        memory = open_gpu_memory()
    except GpuUnreadable as error:
        log.warning("the GPU's memory is not watched", reason=str(error))
        return
    telemetry.watch_gpu(used_bytes=memory.used_bytes, total_bytes=memory.total_bytes)


def _log_broken(error: ModelUnavailable) -> None:
    log.error("a model cannot be served", model=error.model, reason=error.reason)

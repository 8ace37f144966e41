"""Main: wires settings into parts, and parts into a service; no other module does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import chain

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.engine.capacity.admission import Admission
from app.engine.capacity.idempotency import IdempotencyKeys
from app.engine.capacity.memory import available_memory
from app.engine.capacity.processor import usable_processor
from app.engine.capacity.quota import QuotaRegistry, Rates
from app.engine.clock import SystemClock
from app.engine.threads.priority import lower_priority
from app.engine.threads.sandbox import SandboxLost
from app.errors import CutoutError
from app.pipeline.build import budget_of, open_pipeline
from app.pipeline.run import Pipeline
from app.settings import Settings
from app.system_errors import sentence_of
from app.telemetry import Telemetry
from app.web.access_log import AccessLog
from app.web.api_keys import ApiKeys
from app.web.auth import ApiKeyAuth
from app.web.background import keep_running, sample, tidy_up, watch_keys
from app.web.batch.limiter import BatchLimiter
from app.web.body_end import BodyEnd
from app.web.cors import cors_rules
from app.web.drain import Drain, DrainGate
from app.web.endpoints import batch, dialects, docs, health, open_inference, playground, v1
from app.web.endpoints.dialects import RENDERERS
from app.web.endpoints.openapi import completed
from app.web.endpoints.table import check_routes
from app.web.head import HeadAsGet
from app.web.lag import watch_lag
from app.web.lingering import DropRate
from app.web.load_log import LoadLog
from app.web.load_shedding import LoadShedder
from app.web.path_prefix import PathPrefix
from app.web.problems import ProblemWall, on_framework_error
from app.web.request.fetch import PictureFetcher, Rules, SystemResolver
from app.web.service import Service
from app.web.text_check import TextCheck

log = structlog.get_logger("cutout.main")
ROUTERS = (
    *(v1.router, batch.router, health.router, docs.router, playground.router),
    *(dialects.router, open_inference.router),
)
MAX_IDEMPOTENCY_KEYS = 10_000  # some megabytes
DESCRIPTION = "Saliency masks and alpha-matted cutouts from photographs."


def create_app(
    settings: Settings,
    *,
    on_settled: Callable[[Service], None] = lambda _: None,
    restarts: Mapping[str, int] | None = None,
    opens_when_warm: bool = False,
) -> FastAPI:
    """Build the application.

    Args:
        settings: Read once, here.
        on_settled: Called in the event loop when the models are warm, or cannot be loaded
            (then ``Service.failure`` has the reason).
        restarts: How often the server process was replaced so far, by reason.
        opens_when_warm: Whether connections wait until the models are warm, as for a server process that
            replaces another; otherwise requests are served at once, so that probes get responses.
    """
    clock = SystemClock()
    service = _service(settings, clock, restarts or {})
    app = FastAPI(
        title="Cutout",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lambda _: _lifespan(service, on_settled, opens_when_warm=opens_when_warm),
        openapi_url=None,  # served by app/web/endpoints/health.py
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # names the functions of generated clients
        redirect_slashes=False,  # a redirect would lead to the host of the Host header
    )
    app.openapi = lambda: completed(  # type: ignore[method-assign] # FastAPI's documented way
        FastAPI.openapi(app), fetches=settings.remote.enabled
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    check_routes(chain(app.routes, *(router.routes for router in ROUTERS)))
    app.add_exception_handler(HTTPException, on_framework_error)
    app.add_middleware(LoadShedder, service=service)
    app.add_middleware(TextCheck)
    app.add_middleware(ApiKeyAuth, keys=service.keys, quotas=QuotaRegistry(clock))
    app.add_middleware(ProblemWall, renderers=RENDERERS)
    app.add_middleware(BodyEnd, rate=service.drop_rate)
    app.add_middleware(DrainGate, drain=service.drain, renderers=RENDERERS, rate=service.drop_rate)
    if settings.web.cors_origins is not None:
        app.add_middleware(CORSMiddleware, **cors_rules(settings.web.cors_origins))
    app.add_middleware(HeadAsGet)
    app.add_middleware(AccessLog, telemetry=service.telemetry, clock=clock)
    app.add_middleware(PathPrefix, prefix=settings.web.path_prefix or "")
    return app


def _service(settings: Settings, clock: SystemClock, restarts: Mapping[str, int]) -> Service:
    """Create the objects that the endpoints share."""
    lifecycle, access = settings.lifecycle, settings.access
    drain = Drain(clock, delay_s=lifecycle.drain_delay_s, timeout_s=lifecycle.drain_timeout_s)
    rates = Rates(access.requests_per_minute, access.megapixels_per_minute)
    service = Service(
        settings,
        Telemetry(requested_device=settings.device),
        Admission(budget_of(settings)),
        clock,
        drain,
        ApiKeys(access.keys_file, access.key_hashes, rates),
        IdempotencyKeys(MAX_IDEMPOTENCY_KEYS),
        DropRate(clock),
        BatchLimiter(settings.limits.batches),
        _picture_fetcher(settings, clock),
    )
    service.telemetry.watch_admission(service.admission)
    service.telemetry.watch_lifecycle(lambda: drain.has_begun, restarts=restarts)
    return service


@asynccontextmanager
async def _lifespan(
    service: Service, on_settled: Callable[[Service], None], *, opens_when_warm: bool
) -> AsyncIterator[None]:
    """Load the models while requests are served, or before; stop the threads at shutdown."""
    loading = asyncio.create_task(_load(service, on_settled))
    background_tasks = (
        keep_running("lag", lambda: watch_lag(service.telemetry.lag, service.clock)),
        keep_running("tidying", lambda: tidy_up(service)),
        keep_running("sampling", lambda: sample(service)),
        keep_running("keys", lambda: watch_keys(service.keys)),
    )
    tasks = [asyncio.create_task(work) for work in background_tasks]
    if opens_when_warm:
        await loading
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loading
        if service.pipeline is not None:
            await asyncio.to_thread(service.pipeline.close)


def _picture_fetcher(settings: Settings, clock: SystemClock) -> PictureFetcher | None:
    remote = settings.remote
    if not remote.enabled:
        return None
    rules = Rules(
        connect_s=remote.connect_timeout_s,
        total_s=remote.timeout_s,
        max_in_flight=min(remote.in_flight, max(1, settings.limits.in_flight_requests // 2)),
    )
    return PictureFetcher(clock, rules=rules, resolve=SystemResolver())


async def _load(service: Service, on_settled: Callable[[Service], None]) -> None:
    try:
        service.pipeline = await asyncio.to_thread(_open_with_low_priority, service)
    except Exception as error:  # any failure ends the process, with its reason
        service.failure = error
        is_known = isinstance(error, (CutoutError, SandboxLost, OSError, MemoryError))
        reason = getattr(error, "reason", sentence_of(error))
        exc_info = None if is_known else error
        log.error("the service cannot start", error=sentence_of(error), reason=reason, exc_info=exc_info)
    else:
        service.admission.budget = service.pipeline.budget  # what the models leave is known only now
        _log_ready(service.pipeline)
    finally:
        on_settled(service)


def _log_ready(pipeline: Pipeline) -> None:
    """Log what the server runs on, and which limits it has found and keeps."""
    models, budget = pipeline.models, pipeline.budget
    processor, memory = usable_processor(), available_memory()
    log.info("ready", models=models.names, provider=models.provider, why_not_cuda=pipeline.why_not_cuda)
    log.info(
        "limits",
        cpus=processor.capacity,
        cpus_from="affinity" if processor.quota is None else processor.quota.source,
        threads=pipeline.pools.decode.threads,
        memory_mb=None if memory is None else round(memory.value / 1e6),
        memory_from=None if memory is None else memory.source,
        for_pictures_mb=round(budget.memory_bytes / 1e6),
        for_uploads_mb=round(budget.upload_bytes / 1e6),
    )


def _open_with_low_priority(service: Service) -> Pipeline:
    lower_priority()  # ONNX Runtime's threads inherit it from the thread that starts them
    telemetry = service.telemetry
    return open_pipeline(service.settings, telemetry, observer=LoadLog(telemetry.runs))
